"""Two-player search against a perfect opponent: the game's own rules are the model.

Sign errors cancel when a player plays itself; here they lose.
"""

import numpy as np
import pytest

pytest.importorskip("pyspiel", reason="make setup-games installs it")

from actor.matches.baselines import MinimaxPlayer
from efficientzero.envs.games import make_turn_game
from tests.support.cases.turn_game_cases import Positions, searched_moves

SIMULATIONS = 4_000


@pytest.fixture(scope="module")
def positions():
    return Positions(make_turn_game("OpenSpiel/tic_tac_toe"))


@pytest.fixture(scope="module")
def opponent():
    return MinimaxPlayer(np.random.default_rng(0))


def outcomes(positions, opponent, *, simulations, algorithm, num_players=2):
    """Play 18 games side by side; return what each earned the search.

    It moves second after each of the nine first moves, and first in as many games.
    """
    playing = {(int(first), 1): int(first) for first in positions.after[1]}
    playing |= {(game, 0): 1 for game in range(9)}
    found = []
    while playing:
        mine = [key for key, at in playing.items() if positions.games[at].to_play() == key[1]]
        moves = {}
        if mine:
            best = searched_moves(
                positions,
                [playing[key] for key in mine],
                algorithm=algorithm,
                simulations=simulations,
                num_players=num_players,
            )
            moves = dict(zip(mine, best.tolist(), strict=True))
        for key, at in list(playing.items()):
            game = positions.games[at]
            move = moves[key] if key in moves else opponent.choose(game)
            assert game.legal_actions()[move]
            playing[key] = int(positions.after[at, move])
            if positions.games[playing[key]].is_over():
                reward = float(positions.rewards[at, move])
                found.append(reward if key in moves else -reward)
                del playing[key]
    assert len(found) == 18
    return found


@pytest.mark.parametrize("algorithm", ["puct", "gumbel"])
def test_search_with_the_rules_draws_every_game_against_a_perfect_player(
    positions, opponent, algorithm
):
    assert len(positions.games) == 1 + 5_478
    found = outcomes(positions, opponent, simulations=SIMULATIONS, algorithm=algorithm)
    assert found == [0.0] * 18


def test_a_search_for_one_player_loses(positions, opponent):
    found = outcomes(positions, opponent, simulations=400, algorithm="puct", num_players=1)
    assert min(found) == -1.0, "the games above cannot tell a wrong sign"

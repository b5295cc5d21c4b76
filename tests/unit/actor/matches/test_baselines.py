"""Fixed opponents, in the libraries' own games."""

import numpy as np
import pytest

pytest.importorskip("pyspiel", reason="make setup-games installs it")

from actor.matches.baselines import MinimaxPlayer, RandomPlayer, make_baseline
from actor.matches.play import by_baseline, play_match, random_openings
from efficientzero.envs.games import make_turn_game
from efficientzero.process.runtime import StopSignal

TIC_TAC_TOE = "OpenSpiel/tic_tac_toe"


def match(first, second, env_id=TIC_TAC_TOE, num_games=100, **options):
    game = make_turn_game(env_id)
    players = [
        by_baseline(make_baseline(name, game, np.random.default_rng(seed)))
        for seed, name in enumerate((first, second))
    ]
    return play_match(*players, game, num_games, max_moves=99, stop=StopSignal(), **options)


@pytest.fixture(scope="module")
def perfect():
    """Solve tic-tac-toe once."""
    player = MinimaxPlayer(np.random.default_rng(0))
    player.value(make_turn_game(TIC_TAC_TOE))
    return player


def test_minimax_values_of_known_positions(perfect):
    game = make_turn_game(TIC_TAC_TOE)
    assert perfect.value(game) == 0.0
    for move in (0, 1, 3):  # X 0 and 3, O 1: X threatens 6
        game.play(move)
    assert perfect.value(game) == -1.0, "X also threatens by 4"
    values = perfect.action_values(game)
    assert set(values) == {2, 4, 5, 6, 7, 8}
    assert set(values.values()) == {-1.0}
    game.play(2)
    values = perfect.action_values(game)
    assert values[6] == 1.0, "wins at once"
    best = {action for action, value in values.items() if value == 1.0}
    assert {perfect.choose(game) for _ in range(50)} == best


def test_perfect_players_draw_and_never_lose_to_random_moves(perfect):
    game = make_turn_game(TIC_TAC_TOE)
    mine, dice = by_baseline(perfect), by_baseline(RandomPlayer(np.random.default_rng(1)))
    both = play_match(mine, mine, game, 20, max_moves=99, stop=StopSignal()).score()
    assert (both.wins, both.draws, both.losses) == (0, 20, 0)
    result = play_match(mine, dice, game, 100, max_moves=99, stop=StopSignal())
    assert result.score().losses == 0
    assert result.score(0).share > result.score(1).share > 0.8
    assert result.seats == (0, 1) * 50


def test_perfect_play_of_the_other_library():
    score = match("minimax", "random", "PettingZoo/tictactoe_v3", 10).score()
    assert score.losses == 0
    assert score.wins > 5


def test_search_with_random_games_beats_random_moves():
    score = match("mcts-50", "random", "OpenSpiel/connect_four", 20).score()
    assert score.share >= 0.9


def test_refused_baselines():
    rng = np.random.default_rng(0)
    zoo = make_turn_game("PettingZoo/tictactoe_v3")
    with pytest.raises(ValueError, match="got mcts-5 for a game of PettingZoo, wanted random"):
        make_baseline("mcts-5", zoo, rng)


def test_minimax_refuses_large_games(monkeypatch):
    monkeypatch.setattr("actor.matches.baselines.MOST_POSITIONS", 1_000)
    game = make_turn_game("OpenSpiel/connect_four")
    with pytest.raises(ValueError, match="got minimax for a game of more than 1,000 positions"):
        make_baseline("minimax", game, np.random.default_rng(0))


def test_openings_are_played_in_both_seats():
    game = make_turn_game(TIC_TAC_TOE)
    openings = random_openings(game, 2, 3, np.random.default_rng(0))
    assert [len(moves) for moves in openings] == [2, 2, 2]
    assert len({tuple(moves) for moves in openings}) > 1
    seen = []

    def first_legal(games):
        for one in games:
            seen.append(9 - int(one.legal_actions().sum()))
        return [int(one.legal_actions().argmax()) for one in games]

    result = play_match(
        first_legal,
        first_legal,
        game,
        6,
        max_moves=99,
        stop=StopSignal(),
        openings=openings,
    )
    assert min(seen) == 2
    # Both are the same player: what one seat earns, the other loses.
    for number in (0, 2, 4):
        one, other = result.results[number : number + 2]
        assert one.episode_return == -other.episode_return
        assert one.length == other.length


def test_a_move_limit_makes_a_draw():
    result = match("random", "random", "OpenSpiel/connect_four", 4)
    assert all(7 <= one.length <= 42 for one in result.results)
    game = make_turn_game("OpenSpiel/connect_four")
    player = by_baseline(make_baseline("random", game, np.random.default_rng(0)))
    cut = play_match(player, player, game, 4, max_moves=3, stop=StopSignal())
    assert [(one.episode_return, one.length) for one in cut.results] == [(0.0, 3)] * 4

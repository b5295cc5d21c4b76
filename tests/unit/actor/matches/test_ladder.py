"""The evaluator's games against members of the pool."""

import numpy as np
import pytest
import torch

pytest.importorskip("pyspiel", reason="make setup-games installs it")

from actor.games import greedily
from actor.matches.ladder import Ladder, spread
from actor.matches.league_client import Opponent
from actor.matches.play import MatchResult
from efficientzero.config import load_preset
from efficientzero.networks import make_network
from efficientzero.process.runtime import StopSignal
from efficientzero.search import make_planner
from tests.support.cases.config_cases import changed
from tests.support.fakes import tiny_run

MEMBERS = [Opponent(k + 1, f"member_{100 * k}", 100 * k) for k in range(5)]
CONFIG = changed(
    load_preset("tictactoe"),
    {
        "network.mlp_latent_size": 16,
        "network.mlp_hidden_size": 16,
        "network.zero_init_heads": False,
        "search.num_simulations": 4,
        "league.pool_share": 0.25,
        "league.ladder_games": 6,
    },
)


class FakeClient:
    """Has weights of every member but those that have gone."""

    def __init__(self, state, gone=()):
        self.state, self.gone, self.asked, self.reported = state, gone, [], []

    def members(self):
        return MEMBERS

    def weights(self, member, expected):
        self.asked.append(member.train_step)
        assert expected.keys() == self.state.keys()
        return None if member.train_step in self.gone else self.state

    def report(self, matches):
        self.reported += matches
        return True


def played(tmp_path, *, train_step, gone=(), stop=None):
    run = tiny_run(tmp_path, CONFIG)
    torch.manual_seed(0)
    network = make_network(CONFIG, run.env_spec, training=False).eval()
    client = FakeClient(network.inference_state_dict(), gone)
    ladder = Ladder(
        run,
        client,
        device=torch.device("cpu"),
        generator=np.random.default_rng(0),
        stop=stop or StopSignal(),
    )
    planner = make_planner(
        CONFIG,
        run.env_spec,
        network,
        batch_size=6,
        device=torch.device("cpu"),
        generator=np.random.default_rng(1),
    )
    nothing = {"random": MatchResult(results=(), seats=())}
    return client, ladder.play(greedily(planner), nothing, train_step)


@pytest.mark.parametrize("count", range(6))
def test_the_oldest_the_middle_and_the_newest_once_each(count):
    chosen = spread(MEMBERS[:count])
    assert len(chosen) == min(count, 3)
    assert chosen == sorted(set(chosen))
    if count:
        assert {MEMBERS[0], MEMBERS[count - 1]} <= {*chosen}


def test_each_is_played_in_both_seats_and_reported(tmp_path):
    client, has_ended = played(tmp_path, train_step=400)
    assert has_ended
    assert client.asked == [0, 100, 300]  # not those evaluated
    assert len(client.reported) == 3 * 6
    for member in (MEMBERS[0], MEMBERS[1], MEMBERS[3]):
        matches = [match for match in client.reported if match.opponent == member]
        assert [match.seat for match in matches] == [0, 1] * 3
        # The same weights from the same beginning: who moved first won what the other lost.
        for first, second in zip(matches[::2], matches[1::2], strict=True):
            assert first.outcome == -second.outcome
            assert first.length == second.length
    assert {(match.train_step, match.is_evaluation) for match in client.reported} == {(400, True)}


def test_who_has_gone_is_left_out_and_a_stop_ends_the_games(tmp_path):
    client, has_ended = played(tmp_path, train_step=450, gone=(200,))
    assert has_ended
    assert client.asked == [0, 200, 400]
    assert {match.opponent.train_step for match in client.reported} == {0, 400}
    stop = StopSignal()
    stop.set("enough")
    client, has_ended = played(tmp_path, train_step=450, stop=stop)
    assert not has_ended
    assert client.reported == []

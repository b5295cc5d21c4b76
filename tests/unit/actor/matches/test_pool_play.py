"""Games against the pool: who makes which move, what is recorded, and how results count."""

import itertools

import numpy as np
import pytest
import torch

pytest.importorskip("pyspiel", reason="make setup-games installs it")

from actor.actor import Actor
from actor.matches.league_client import Opponent
from actor.matches.pool_play import BASELINE_MOVER, PoolPlay
from actor.matches.self_play import SelfPlay
from efficientzero.config import load_preset
from efficientzero.envs import make_env_batch
from efficientzero.envs.games import make_turn_game
from efficientzero.networks import make_network
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Roots
from efficientzero.search import UniformPlanner, make_planner
from tests.support.cases.config_cases import changed
from tests.support.fakes import FakeRunClient, FakeWeights, MemoryTracker, RecordingWriter

NUM_ENVS, NUM_POOL_ENVS = 8, 3
MEMBER = Opponent(7, "member_600", 600)
MINIMAX = Opponent(0, "minimax", 0)
CONFIG = changed(
    load_preset("tictactoe"),
    {
        "network.mlp_latent_size": 16,
        "network.mlp_hidden_size": 16,
        "network.zero_init_heads": False,
        "search.num_simulations": 4,
        "actor.num_envs": NUM_ENVS,
        "league.pool_share": 0.3,  # of 8 environments: 3
        "cluster.metrics_interval_seconds": 1e-9,
    },
)


class FirstLegal(UniformPlanner):
    """A member's planner that always wants the first legal action."""

    def __init__(self, num_actions):
        super().__init__(num_actions, np.random.default_rng(0))
        self.num_roots = 0

    def run(self, roots, *, exploration_noise):
        self.num_roots += len(roots)
        result = super().run(roots, exploration_noise=exploration_noise)
        first = roots.legal_actions.argmax(axis=1)
        chosen = np.eye(result.policies.shape[1])[first]
        return result._replace(
            visit_counts=chosen.astype(np.int32),
            policies=chosen.astype(np.float32),
            best_actions=first.astype(np.int32),
        )


class FakeLeague:
    """Names opponents in turn and keeps what is reported."""

    def __init__(self, opponents, state):
        self.opponents, self.state = iter(opponents), state
        self.asked = self.sent = 0
        self.matches = []

    def next_opponent(self):
        self.asked += 1
        return next(self.opponents)

    def weights(self, member, expected):
        assert member.member
        assert {k: v.shape for k, v in expected.items()} == {
            k: v.shape for k, v in self.state.items()
        }
        self.sent += 1
        return self.state

    def report(self, matches):
        assert matches, "an empty report"
        self.matches += matches
        return True


class Bench:
    """An actor on real games with a pool."""

    def __init__(self, opponents, *, budget, warmup=0, pipeline="off", config=CONFIG):
        self.config = changed(config, {"actor.pipeline": pipeline})
        envs = make_env_batch(self.config, seeds=range(NUM_ENVS), purpose="training")
        self.spec = envs.spec
        torch.manual_seed(0)
        networks = [make_network(self.config, envs.spec, training=False).eval() for _ in range(3)]
        network, self.second, members = networks
        planner = make_planner(
            self.config,
            envs.spec,
            network,
            batch_size=NUM_ENVS,
            device=torch.device("cpu"),
            generator=np.random.default_rng(1),
        )
        self.league = FakeLeague(opponents, members.inference_state_dict())
        self.members_planner = FirstLegal(envs.spec.num_actions)
        self.pool = PoolPlay(
            self.config.league,
            NUM_ENVS,
            client=self.league,
            network=self.second,
            planner=self.members_planner,
            game=make_turn_game(self.config.env.id),
            generator=np.random.default_rng(3),
        )
        self.weights = FakeWeights(network.inference_state_dict())
        self.weights.publish(network.inference_state_dict(), 1000)
        self.writers = [RecordingWriter(envs.spec) for _ in range(NUM_ENVS)]
        self.tracker = MemoryTracker()
        self.actor = Actor(
            self.config,
            index=0,
            envs=envs,
            network=network,
            planner=planner,
            weights=self.weights,
            writers=self.writers,
            run_client=FakeRunClient(budget=budget, warmup=warmup),
            tracker=self.tracker,
            generator=np.random.default_rng(2),
            stop=StopSignal(),
            opponents=self.pool,
        )
        self.actor.run()

    def episodes(self, env):
        return [episode for episode in self.writers[env].episodes if is_whole(episode)]


def is_whole(episode):
    return episode.ending.name == "TERMINATED"


def first_legal(step):
    return int(step.legal_actions.argmax())


@pytest.mark.parametrize("pipeline", ["off", "on"])
def test_a_member_that_always_plays_the_first_move_is_who_moved(pipeline):
    bench = Bench(itertools.repeat(MEMBER), budget=1_500, pipeline=pipeline)
    against = other_moves = 0
    for env in range(NUM_ENVS):
        seats = []
        for episode in bench.episodes(env):
            movers = {step.mover for step in episode.steps}
            assert movers <= ({0, 7} if env < NUM_POOL_ENVS else {0})
            if 7 not in movers:
                continue
            against += 1
            # One player is the member's throughout, the other the newest weights'.
            (member,) = {step.to_play for step in episode.steps if step.mover}
            for step in episode.steps:
                assert step.mover == (7 if step.to_play == member else 0)
                assert step.weights_version == (600 if step.mover else 1000)
                if step.mover:
                    assert step.action == first_legal(step)
                    assert step.search_policy[step.action] == 1.0
                else:
                    other_moves += step.action != first_legal(step)
            seats.append(member != episode.steps[0].to_play)
        # Every other game the newest weights move first.
        assert all(now != before for before, now in itertools.pairwise(seats))
    assert against > 40
    assert other_moves > 40  # it was not the fake that made them
    assert bench.members_planner.num_roots > 100
    state, loaded = bench.league.state, bench.second.inference_state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_reported_results_are_those_of_the_newest_weights():
    bench = Bench(itertools.repeat(MEMBER), budget=1_500)
    wanted = []
    for env in range(NUM_POOL_ENVS):
        for episode in bench.episodes(env):
            members = {step.to_play for step in episode.steps if step.mover}
            if members:
                last, first = episode.steps[-1], episode.steps[0]
                outcome = -last.reward if last.mover else last.reward
                seat = int(first.to_play in members)
                wanted.append((MEMBER, 1000, seat, outcome, len(episode.steps), False))
    assert sorted(map(tuple, bench.league.matches)) == sorted(wanted)
    assert {outcome for *_, outcome, _, _ in wanted} >= {-1.0, 1.0}
    # The actor's own returns of these games have the same view.
    reported = bench.actor._run_client.episodes
    assert len(reported) == sum(len(bench.episodes(env)) for env in range(NUM_ENVS))


def test_every_opponent_has_some_games_and_ends_them_before_the_next():
    members = (Opponent(k, f"member_{k}", 100 * k) for k in itertools.count(1))
    bench = Bench(members, budget=4_000)
    numbers = [match.opponent.member for match in bench.league.matches]
    assert numbers == sorted(numbers)
    counts = np.bincount(numbers)[1:]
    assert set(counts[:-1]) == {8 * NUM_POOL_ENVS}
    assert bench.league.asked == bench.league.sent
    assert bench.league.sent - len(counts) in (0, 1)
    rows = [row for row in bench.tracker.rows if row.get("actor/pool_share")]
    # All but the wait for the last game of each opponent.
    assert 0.8 < np.mean([row["actor/pool_share"] for row in rows]) * NUM_ENVS / NUM_POOL_ENVS <= 1
    assert rows[0]["actor/opponent_age_train_steps"] == 900.0


def test_without_an_opponent_or_in_the_warm_up_games_are_self_play():
    alone = Bench(itertools.repeat(None), budget=200)
    assert alone.league.asked > NUM_POOL_ENVS
    early = Bench(itertools.repeat(MEMBER), budget=200, warmup=200)
    assert early.league.asked == 0
    for bench in (alone, early):
        steps = [s for w in bench.writers for e in w.episodes for s in e.steps]
        assert {step.mover for step in steps} == {0}
        assert bench.league.matches == []
        assert "actor/opponent_age_train_steps" not in bench.tracker.rows[-1]


def test_a_member_whose_weights_have_gone_is_not_played(monkeypatch):
    monkeypatch.setattr(FakeLeague, "weights", lambda *_: None)
    bench = Bench(itertools.repeat(MEMBER), budget=100)
    assert bench.league.matches == []
    assert {step.mover for e in bench.episodes(0) for step in e.steps} == {0}


def test_a_baseline_plays_its_own_moves_and_never_loses():
    bench = Bench(itertools.repeat(MINIMAX), budget=600)
    assert len(bench.league.matches) > 15
    assert {match.outcome for match in bench.league.matches} <= {0.0, -1.0}
    assert -1.0 in {match.outcome for match in bench.league.matches}
    assert bench.league.sent == 0
    moved = [s for env in range(3) for e in bench.episodes(env) for s in e.steps if s.mover]
    assert {step.mover for step in moved} == {BASELINE_MOVER}
    for step in moved:
        assert step.weights_version == 1000  # their search gave the position its value
        assert step.search_policy[step.action] == 1.0


def test_self_play_is_one_search_of_all_roots_and_nothing_else():
    class Planner(UniformPlanner):
        calls = 0

        def run(self, roots, *, exploration_noise):
            self.calls += 1
            return super().run(roots, exploration_noise=exploration_noise)

    planner, play = Planner(9, np.random.default_rng(0)), SelfPlay()
    roots = Roots(np.zeros((3, 4), np.float32), np.ones((3, 9), np.bool_))
    thought = play.think(planner, [0, 1, 2], roots, is_random=False)
    assert planner.calls == 1
    assert thought.movers is thought.given is thought.opponent_train_step is None
    assert thought.own is thought.result
    slots = np.arange(3)
    assert thought.played(slots) is slots
    assert play.players is None
    assert play.take_row(7) == {}


def test_the_pool_has_its_share_of_environments_rounded_up():
    league = CONFIG.league
    assert [league.num_pool_envs(n) for n in (1, 2, 4, 8, 10)] == [1, 1, 2, 3, 3]

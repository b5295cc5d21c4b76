"""The actor's loop on real environments, networks and searches; what it records is replayed."""

import dataclasses
import itertools
import threading

import numpy as np
import pytest
import torch

from actor.actor import Actor
from efficientzero.envs import make_env_batch
from efficientzero.envs.errors import EnvContractError, EnvCrashed
from efficientzero.networks import make_network
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Ending
from efficientzero.search.batched_search import BatchedSearch
from tests.support.fakes import (
    FakeRunClient,
    FakeWeights,
    MemoryTracker,
    RecordingWriter,
    tiny_config,
)

GAME_LENGTH = 9  # env_steps of a game of Catch
ROWS, COLUMNS = 10, 5
SCORE_FACTOR = 7.0


class LoudEnvs:
    """Real environments with larger scores, in which only every second ending is a game's."""

    def __init__(self, envs, *, lives):
        self.spec, self.num_envs = envs.spec, envs.num_envs
        self._envs, self._lives = envs, lives
        self._endings = [0] * envs.num_envs
        self.before_step = lambda: None

    def reset(self, indices):
        return self._envs.reset(indices)

    def step(self, indices, actions):
        self.before_step()
        steps = self._envs.step(indices, actions)
        over = steps.game_over.copy()
        for row, index in enumerate(indices):
            self._endings[index] += bool(steps.terminated[row])
            over[row] &= self._endings[index] % self._lives == 0
        return steps._replace(rewards=steps.rewards * np.float32(SCORE_FACTOR), game_over=over)


class ObservingSearch(BatchedSearch):
    """A real search that keeps what it saw and tells when it was asked."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.seen = []
        self.results = []
        self.before_run = lambda: None

    def run(self, roots, *, exploration_noise):
        assert exploration_noise
        self.before_run()
        self.seen.append(roots.observations.copy())
        self.results.append(super().run(roots, exploration_noise=exploration_noise))
        return self.results[-1]


class Bench:
    """An actor and everything round it; it has weights of ``train_step`` when it starts."""

    def __init__(
        self,
        *,
        budget,
        warmup=0,
        shares=(),
        train_step=5,
        lives=1,
        pipeline="off",
        algorithm="puct",
        compat=None,
        replay=None,
        **env,
    ):
        config = tiny_config(**env)
        search = dataclasses.replace(config.search, algorithm=algorithm)
        config = dataclasses.replace(
            config,
            search=search,
            compat=dataclasses.replace(config.compat, **(compat or {})),
            replay=dataclasses.replace(config.replay, **(replay or {})),
        )
        actor = dataclasses.replace(config.actor, pipeline=pipeline)
        config = dataclasses.replace(config, actor=actor)
        self.config, self.stop = config, StopSignal()
        envs = make_env_batch(config, seeds=range(config.actor.num_envs), purpose="training")
        self.spec = envs.spec
        torch.manual_seed(0)
        network = make_network(config, envs.spec, training=False).eval()
        self.search = ObservingSearch(
            network,
            search=config.search,
            agent=config.agent,
            compat=config.compat,
            policy_width=envs.spec.num_actions,
            batch_size=envs.num_envs,
            device=torch.device("cpu"),
            generator=np.random.default_rng(1),
        )
        self.network = network
        self.weights = FakeWeights(network.inference_state_dict())
        self.weights.publish(network.inference_state_dict(), train_step)
        self.writers = [RecordingWriter(envs.spec) for _ in range(envs.num_envs)]
        self.run_client = FakeRunClient(budget=budget, warmup=warmup, shares=shares)
        self.tracker = MemoryTracker()
        self.envs = LoudEnvs(envs, lives=lives)
        self.actor = Actor(
            config,
            index=0,
            envs=self.envs,
            network=network,
            planner=self.search,
            weights=self.weights,
            writers=self.writers,
            run_client=self.run_client,
            tracker=self.tracker,
            generator=np.random.default_rng(2),
            stop=self.stop,
        )

    def play(self):
        self.actor.run()
        return self

    def episodes(self):
        return [episode for writer in self.writers for episode in writer.episodes]

    def steps(self):
        return [step for episode in self.episodes() for step in episode.steps]

    def appended(self):
        return [writer.num_appended for writer in self.writers]


def assert_obeys_the_rules_of_catch(episode):
    """Replay the recorded actions on the recorded frames by the rules of the game."""
    frames = episode.frames()
    (row, ball), (last_row, paddle) = np.argwhere(frames[0].reshape(ROWS, COLUMNS))
    assert (row, last_row, paddle) == (0, ROWS - 1, COLUMNS // 2), "not the start of a game"
    for t, step in enumerate(episode.steps):
        paddle = min(max(paddle + step.action - 1, 0), COLUMNS - 1)
        board = np.zeros((ROWS, COLUMNS), np.uint8)
        board[t + 1, ball] = board[ROWS - 1, paddle] = 255
        np.testing.assert_array_equal(frames[t + 1].reshape(ROWS, COLUMNS), board)
        has_landed = t + 1 == ROWS - 1
        assert step.reward == (float(np.sign((ball == paddle) - 0.5)) if has_landed else 0.0)


def test_recorded_steps_replay_by_the_rules_of_the_game():
    bench = Bench(budget=4 * 2 * GAME_LENGTH).play()
    episodes = bench.episodes()
    assert len(episodes) == 8
    for episode in episodes:
        assert_obeys_the_rules_of_catch(episode)
        assert len(episode.steps) == GAME_LENGTH
        assert episode.ending == Ending.TERMINATED


def test_rewards_are_clipped_for_training_and_reported_raw():
    budget = 4 * 6 * GAME_LENGTH
    bench = Bench(budget=budget, warmup=budget).play()
    last_rewards = [episode.steps[-1].reward for episode in bench.episodes()]
    assert set(last_rewards) == {-1.0, 1.0}
    assert sorted(bench.run_client.episodes) == sorted(
        (SCORE_FACTOR * reward, GAME_LENGTH) for reward in last_rewards
    )


def test_rewards_stay_raw_where_clipping_is_off():
    bench = Bench(budget=4 * GAME_LENGTH, clip_rewards=False).play()
    assert {abs(episode.steps[-1].reward) for episode in bench.episodes()} == {SCORE_FACTOR}


def test_lost_life_ends_the_episode_but_not_the_reported_game():
    bench = Bench(budget=4 * 4 * GAME_LENGTH, lives=2).play()
    assert len(bench.episodes()) == 16
    assert [length for _, length in bench.run_client.episodes] == [2 * GAME_LENGTH] * 8
    total = sum(SCORE_FACTOR * episode.steps[-1].reward for episode in bench.episodes())
    assert sum(score for score, _ in bench.run_client.episodes) == total


def test_time_limit_truncates_the_episode_and_ends_the_reported_game():
    bench = Bench(budget=4 * 10, max_episode_steps=5).play()
    assert [episode.ending for episode in bench.episodes()] == [Ending.TRUNCATED] * 8
    for episode in bench.episodes():
        assert len(episode.steps) == 5
        assert_obeys_the_rules_of_catch(episode)
    assert bench.run_client.episodes == [(0.0, 5)] * 8


def test_search_sees_the_stacked_frames_of_the_episode():
    bench = Bench(budget=4 * 2 * GAME_LENGTH).play()
    for env, writer in enumerate(bench.writers):
        expected = []
        for episode in writer.episodes:
            frames = episode.frames()
            expected += [
                np.concatenate([frames[max(0, t - 1)], frames[t]])
                for t in range(len(episode.steps))
            ]
        np.testing.assert_array_equal([seen[env] for seen in bench.search.seen], expected)


@pytest.mark.parametrize("published_after", [5, 8])
def test_policies_are_uniform_in_the_warm_up_and_searched_from_its_last_env_step_on(
    published_after,
):
    bench = Bench(budget=4 * 12, warmup=4 * 5, train_step=0)
    bench.run_client.before_grant = lambda: (
        bench.run_client.completed == 4 * published_after
        and bench.weights.publish(bench.network.inference_state_dict(), 20)
    )
    bench.play()
    by_env_step = sorted(bench.steps(), key=lambda step: step.env_step)
    random_steps, searched = by_env_step[: 4 * 5], by_env_step[4 * 5 :]
    # Untrained weights search, too: random play ends with the warm-up, whatever is published.
    assert sum(step.weights_version == 0 for step in searched) == 4 * (published_after - 5)
    assert len(bench.search.seen) == 7
    for step in random_steps:
        np.testing.assert_allclose(step.search_policy, 1 / 3)
        assert step.root_value == 0.0
    visits = np.array([s.search_policy for s in searched]) * bench.config.search.num_simulations
    np.testing.assert_allclose(visits, np.round(visits), atol=1e-5)
    assert len({step.action for step in random_steps}) == 3


def test_play_stops_exactly_at_the_budget_and_truncates_what_runs():
    bench = Bench(budget=4 * GAME_LENGTH + 14).play()
    assert bench.run_client.completed == sum(bench.appended()) == bench.run_client.budget
    assert bench.run_client.grants[-2:] == [2, 0]
    for writer in bench.writers:
        whole, cut = writer.episodes
        assert whole.ending == Ending.TERMINATED
        assert cut.ending == Ending.TRUNCATED
        assert_obeys_the_rules_of_catch(cut)
        assert writer.is_closed
    assert [len(writer.episodes[1].steps) for writer in bench.writers] == [4, 4, 3, 3]
    assert len(bench.run_client.episodes) == 4  # a game cut short has no score


def test_smaller_grant_steps_the_first_environments_only():
    bench = Bench(budget=13, shares=[4, 2, 1, 4, 2]).play()
    assert bench.appended() == [5, 4, 2, 2]
    assert [len(seen) for seen in bench.search.seen] == [4, 2, 1, 4, 2]
    for episode in bench.episodes():
        assert_obeys_the_rules_of_catch(episode)


def test_actor_without_a_grant_asks_again():
    bench = Bench(budget=8, shares=[0, 4, 0, 0, 4]).play()
    assert bench.run_client.grants == [0, 4, 0, 0, 4, 0]
    assert bench.appended() == [2, 2, 2, 2]


def test_budget_that_ends_with_the_episodes_leaves_nothing_to_truncate():
    bench = Bench(budget=4 * GAME_LENGTH).play()
    assert [episode.ending for episode in bench.episodes()] == [Ending.TERMINATED] * 4
    assert all(writer.is_closed for writer in bench.writers)


def test_stop_in_mid_game_hands_over_what_was_played():
    bench = Bench(budget=10_000)
    bench.search.before_run = lambda: len(bench.search.seen) == 12 and bench.stop.set("test")
    bench.play()
    assert bench.appended() == [13] * 4
    assert [e.ending for w in bench.writers for e in w.episodes] == [
        Ending.TERMINATED,
        Ending.TRUNCATED,
    ] * 4
    assert all(writer.is_closed for writer in bench.writers)


def test_stop_before_the_first_weights_plays_nothing():
    bench = Bench(budget=8)
    bench.weights.take_newer()
    bench.play()
    assert bench.appended() == [0] * 4


def test_metric_rows_have_the_actors_own_env_steps_and_where_time_goes():
    bench = Bench(budget=12, train_step=5)
    bench.run_client.train_steps = 12
    rows = bench.play().tracker.rows
    assert [row["actor/env_steps"] for row in rows] == [4, 8, 12, 12]  # and one when it leaves
    assert [row["actor/weights_age_train_steps"] for row in rows] == [7] * 4
    assert {"actor/time/search_ms", "actor/time/wait_pace_ms", "actor/time/wait_share"} <= rows[
        -2
    ].keys()


def test_metric_rows_have_games_and_searches():
    bench = Bench(budget=4 * GAME_LENGTH + 2).play()
    rows = bench.tracker.rows
    assert rows[-1]["actor/episodes"] == 4
    (ended,) = [row for row in rows if "actor/return_mean" in row]
    assert ended["actor/length_mean"] == GAME_LENGTH
    assert ended["actor/return_mean"] == np.mean([score for score, _ in bench.run_client.episodes])
    simulations = bench.config.search.num_simulations
    for row in rows[:-2]:
        assert row["actor/simulations_per_s"] == pytest.approx(
            simulations * row["actor/searches_per_s"]
        )
        assert row["actor/recurrent_inferences_per_s"] == pytest.approx(
            row["actor/simulations_per_s"]
        )
    # Two roots in a batch of four: the network works as much as for four.
    assert rows[-2]["actor/recurrent_inferences_per_s"] == pytest.approx(
        2 * rows[-2]["actor/simulations_per_s"]
    )
    assert rows[-1]["actor/sent_bytes"] == sum(writer.bytes_sent for writer in bench.writers)


def test_no_simulation_is_counted_in_the_warm_up():
    rows = Bench(budget=12, warmup=12).play().tracker.rows
    assert [row["actor/simulations_per_s"] for row in rows] == [0, 0, 0, 0]


def test_same_seeds_play_the_same_games():
    first, second = (Bench(budget=40).play() for _ in range(2))
    assert [step.action for step in first.steps()] == [step.action for step in second.steps()]


def test_pipelined_halves_play_by_the_rules_and_stop_exactly_at_the_budget():
    bench = Bench(budget=53, pipeline="on").play()
    assert sum(bench.appended()) == 53
    assert bench.run_client.completed == 53
    assert {len(seen) for seen in bench.search.seen} == {1, 2}
    for episode in bench.episodes():
        assert_obeys_the_rules_of_catch(episode)


def test_pipelined_half_searches_while_the_other_half_steps():
    bench = Bench(budget=16, pipeline="on")
    searches = itertools.count(1)
    second_half_searches = threading.Event()
    bench.search.before_run = lambda: next(searches) == 2 and second_half_searches.set()
    overlaps = []
    bench.envs.before_step = lambda: overlaps.append(second_half_searches.wait(30.0))
    bench.play()
    assert all(overlaps)


def test_pipelined_actor_reports_what_it_holds_when_nothing_is_granted():
    """The learner may wait for the very env_steps that the other half has played."""
    bench = Bench(budget=24, shares=[2, 0, 2, 0, 0], pipeline="on").play()
    assert sum(bench.appended()) == 24


def test_gumbel_actor_plays_what_the_search_recommends():
    bench = Bench(budget=12, algorithm="gumbel")
    recommended, run = [], bench.search.run

    def keep(roots, *, exploration_noise):
        result = run(roots, exploration_noise=exploration_noise)
        recommended.extend(result.best_actions.tolist())
        return result

    bench.search.run = keep
    bench.play()
    turns = zip(*([step.action for step in e.steps] for e in bench.episodes()), strict=True)
    assert [action for turn in turns for action in turn] == recommended


def test_new_steps_get_the_priority_that_the_learner_sent_with_their_grant():
    bench = Bench(budget=4 * 3)
    told = itertools.count(2)
    bench.run_client.before_grant = lambda: setattr(
        bench.run_client, "max_priority", float(next(told))
    )
    bench.play()
    for episode in bench.episodes():
        assert [step.priority for step in episode.steps] == [2.0, 3.0, 4.0]


def test_new_steps_get_their_value_error_as_priority_where_asked_for():
    bench = Bench(budget=4 * 3, replay={"initial_priority": "value_error"}).play()
    errors = np.abs([r.root_values - r.predicted_values for r in bench.search.results])
    assert errors.min() > 1e-4
    for env, episode in enumerate(bench.episodes()):
        np.testing.assert_allclose(
            [step.priority for step in episode.steps], errors[:, env] + 1e-6, rtol=1e-6
        )


def test_steps_without_a_search_have_no_value_error_and_get_the_largest_priority():
    bench = Bench(budget=4 * 3, warmup=4 * 3, replay={"initial_priority": "value_error"})
    bench.run_client.max_priority = 2.5
    assert {step.priority for step in bench.play().steps()} == {2.5}


def test_uniform_replay_needs_no_value_errors():
    replay = {"initial_priority": "value_error", "priority_exponent": 0.0}
    assert {step.priority for step in Bench(budget=4 * 3, replay=replay).play().steps()} == {1.0}


def test_time_limit_may_count_as_an_end_but_the_end_of_collection_never_does():
    compat = {"truncation_is_terminal": True}
    bench = Bench(budget=4 * 7, max_episode_steps=5, compat=compat).play()
    for writer in bench.writers:
        assert [e.ending for e in writer.episodes] == [Ending.TERMINATED, Ending.TRUNCATED]
        assert [len(e.steps) for e in writer.episodes] == [5, 2]
    assert bench.run_client.episodes == [(0.0, 5)] * 4


@pytest.mark.parametrize("pipeline", ["off", "on"])
def test_each_step_knows_how_many_env_steps_the_run_had_before_it(pipeline):
    bench = Bench(budget=4 * GAME_LENGTH + 6, pipeline=pipeline).play()
    played = sorted(step.env_step for step in bench.steps())
    assert played == list(range(bench.run_client.budget))
    for writer in bench.writers:
        own = [step.env_step for episode in writer.episodes for step in episode.steps]
        assert own == sorted(own)


def test_metric_rows_have_what_searches_found_once_there_are_any():
    (row,) = [r for r in Bench(budget=4).play().tracker.rows if "actor/search_entropy" in r]
    assert 0.0 < row["actor/search_entropy"] <= np.log(3) + 1e-6
    assert 1 <= row["actor/search_depth"] <= 6
    warmup = Bench(budget=4, warmup=4).play().tracker.rows
    assert warmup and not any("actor/search_entropy" in row for row in warmup)


def fail_in(bench, env, at, error):
    """Let one environment raise ``error`` in its ``at``-th step."""
    inner = bench.envs._envs._envs[env]
    step, count = inner.step, itertools.count(1)

    def failing(action):
        if next(count) == at:
            raise error
        return step(action)

    inner.step = failing


@pytest.mark.parametrize("pipeline", ["off", "on"])
@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(), SystemExit(3)])
def test_all_that_was_played_is_recorded_when_an_environment_fails(pipeline, error):
    bench = Bench(budget=10_000, pipeline=pipeline, train_step=0)
    at, num_envs = GAME_LENGTH + 4, bench.envs.num_envs
    fail_in(bench, 2, at, error)
    with pytest.raises(EnvCrashed, match=r"env.id=Catch-v0: step 4 of an episode"):
        bench.play()
    played = bench.appended()
    assert played[2] == at - 1
    assert all(count >= at - 1 for count in played)
    if pipeline == "off":
        assert played == [at, at, at - 1, at]
    assert bench.run_client.completed == sum(played)
    assert all(writer.is_closed for writer in bench.writers)
    assert len(bench.steps()) == sum(played)
    for episode in bench.episodes():
        assert_obeys_the_rules_of_catch(episode)
    cut = bench.writers[2].episodes[-1]
    assert (len(cut.steps), cut.ending) == (3, Ending.TRUNCATED)
    numbers = sorted(step.env_step for step in bench.steps())
    assert len(set(numbers)) == len(numbers)
    assert len(played) == num_envs


def test_nothing_wrong_enters_replay_when_an_environment_breaks_its_contract():
    bench = Bench(budget=10_000)
    inner = bench.envs._envs._envs[1]
    step, count = inner.step, itertools.count(1)
    inner.step = lambda action: step(action)._replace(
        reward=float("nan") if next(count) == 6 else 0.0
    )
    with pytest.raises(EnvContractError, match="step 6 of an episode: reward: got nan") as told:
        bench.play()
    assert told.value.is_permanent
    assert bench.appended() == [6, 5, 6, 6]
    assert bench.run_client.completed == 23


def test_last_report_comes_when_all_steps_are_handed_over():
    bench = Bench(budget=2 * GAME_LENGTH + 3)
    closed_at_report = []
    acquire = bench.run_client.acquire_env_steps

    def record(index, *, completed, wanted, wait_s):
        closed_at_report.append((wanted, all(writer.is_closed for writer in bench.writers)))
        return acquire(index, completed=completed, wanted=wanted, wait_s=wait_s)

    bench.run_client.acquire_env_steps = record
    bench.play()
    assert closed_at_report[-1] == (0, True)
    assert all(entry == (4, False) for entry in closed_at_report[:-1])

"""The reanalyzer on real networks and searches; slices are cut from whole random episodes."""

import dataclasses

import numpy as np
import pytest
import torch

from efficientzero.envs import probe_env_spec
from efficientzero.networks import make_network
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Ending, SearchResult, SliceBatch
from efficientzero.search.batched_search import BatchedSearch
from reanalyzer.reanalyzer import Reanalyzer
from reanalyzer.root_batch import equal_parts, most_roots
from tests.support.cases.replay_cases import random_episode, window
from tests.support.cases.target_cases import slice_batch
from tests.support.fakes import FakeBatchSink, FakeSlices, FakeWeights, MemoryTracker, tiny_config

TARGET_TRAIN_STEP = 7


class CountingSearch(BatchedSearch):
    """A real search that remembers what it was asked."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.calls: list[tuple[int, bool]] = []

    def run(self, roots, *, exploration_noise):
        self.calls.append((len(roots), exploration_noise))
        return super().run(roots, exploration_noise=exploration_noise)


class TellingSearch(CountingSearch):
    """Its visit counts tell which observation it saw."""

    def run(self, roots, *, exploration_noise):
        self.calls.append((len(roots), exploration_noise))
        counts = np.array([*map(told_counts, roots.observations)], np.int32)
        zeros = np.zeros(len(roots), np.float32)
        return SearchResult(
            visit_counts=counts,
            policies=(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32),
            best_actions=counts.argmax(axis=1).astype(np.int32),
            root_values=zeros,
            predicted_values=zeros,
            prior_logits=np.zeros(counts.shape, np.float32),
            search_depths=np.zeros(len(roots), np.int32),
            child_q=np.empty((len(roots), 0), np.float32),
            slot_actions=np.empty((len(roots), 0, 0), np.float32),
        )


def told_counts(observation):
    digest = observation.reshape(-1).astype(np.int64) @ np.arange(1, observation.size + 1)
    return np.array([1 + digest % 101, 1 + digest % 103, 1 + digest % 107], np.int32)


def reanalyzer_config(*, ratio=0.5, search_batch_size=512, correction=True, refresh_share=0.0):
    config = tiny_config()
    replay = dataclasses.replace(config.replay, priority_refresh_share=refresh_share)
    config = dataclasses.replace(config, replay=replay)
    reanalyzer = dataclasses.replace(
        config.reanalyzer,
        policy_reanalyze_ratio=ratio,
        search_batch_size=search_batch_size,
        off_policy_correction=correction,
    )
    return dataclasses.replace(config, reanalyzer=reanalyzer)


class Bench:
    """A reanalyzer and everything round it."""

    def __init__(self, config, *, search_type=CountingSearch, batches=(), full_for=0, stored=None):
        self.config, self.spec, self.stop = config, probe_env_spec(config.env), StopSignal()
        torch.manual_seed(2)
        self.network = make_network(config, self.spec, training=False).eval()
        self.search = search_type(
            self.network,
            search=config.search,
            agent=config.agent,
            compat=config.compat,
            policy_width=self.spec.num_actions,
            batch_size=equal_parts(most_roots(config), config.reanalyzer.search_batch_size),
            device=torch.device("cpu"),
            generator=np.random.default_rng(3),
        )
        self.weights = FakeWeights(self.network.inference_state_dict())
        self.source = FakeSlices(batches, self.stop)
        self.sink = FakeBatchSink(self.spec, config, full_for=full_for)
        self.tracker = MemoryTracker()
        self.reanalyzer = Reanalyzer(
            config,
            network=self.network,
            search=self.search,
            weights=self.weights,
            slices=self.source,
            batches=self.sink,
            tracker=self.tracker,
            generator=np.random.default_rng(4),
            stop=self.stop,
            stored=stored,
        )

    def publish_target_weights(self):
        """Publish other weights than the network was built with."""
        torch.manual_seed(5)
        trained = make_network(self.config, self.spec, training=False)
        self.weights.publish(trained.inference_state_dict(), TARGET_TRAIN_STEP)

    def make(self, slices):
        """Return the batch made of ``slices`` by the target weights, through ``run``."""
        self.source.batches.append(slices)
        self.publish_target_weights()
        self.reanalyzer.run()
        (batch,) = self.sink.taken
        return batch


def episodes_and_slices(config, *, seed=0):
    """Return B slices, and for each the episode and the step it was cut from."""
    rng = np.random.default_rng(seed)
    spec, size = probe_env_spec(config.env), config.learner.batch_size
    origins = []
    for number in range(size):
        # Long and short ones, so that windows end inside, at and past the end.
        length = int(rng.integers(1, 25))
        ending = (Ending.TERMINATED, Ending.TRUNCATED)[number % 2]
        episode = random_episode(spec, rng, number=number, length=length, ending=ending)
        versions = rng.integers(0, TARGET_TRAIN_STEP + 1, length)
        episode = dataclasses.replace(episode, weights_versions=versions)
        origins.append((episode, int(rng.integers(length))))
    windows = [window(episode, t, spec, config.agent) for episode, t in origins]
    return origins, slice_batch(windows, rng, table_size=500)


def observation_at(episode, t, config):
    """Stack the frames up to step ``t`` of a whole episode, the first one repeated before it."""
    newest = range(t - config.env.num_stacked_frames + 1, t + 1)
    return np.concatenate([episode.frames[max(0, i)] for i in newest])


@torch.inference_mode()
def value_at(network, episode, t, config):
    observation = torch.from_numpy(observation_at(episode, t, config)[None])
    return float(network.support.decode(network.initial_inference(observation).value_logits)[0])


def walked_value(network, episode, t, td_steps, config):
    """Return the td_steps-return from step ``t`` by walking the episode."""
    total, weight, at, length = 0.0, 1.0, t, len(episode)
    if t > length:
        return 0.0
    while at < min(length, t + td_steps):
        total += weight * float(episode.rewards[at])
        weight *= config.agent.discount
        at += 1
    if at < length or episode.ending == Ending.TRUNCATED:
        total += weight * value_at(network, episode, at, config)
    return total


def stored_policies(slices, config):
    """Return the stored policies; replay pads with zeros past the end."""
    positions = np.arange(config.agent.num_unroll_steps + 1)
    exists = positions < slices.steps_left[:, None]
    return np.where(exists[:, :, None], slices.search_policies, 0.0), exists


@pytest.mark.parametrize("correction", [True, False])
def test_values_equal_a_walk_with_the_target_networks_own_values(correction):
    config = reanalyzer_config(correction=correction)
    origins, slices = episodes_and_slices(config)
    bench = Bench(config)
    batch = bench.make(slices)
    agent, tau = config.agent, config.reanalyzer.off_policy_tau
    td_steps_seen, expected = set(), np.zeros_like(batch.values)
    for b, (episode, t) in enumerate(origins):
        age = TARGET_TRAIN_STEP - int(episode.weights_versions[t])
        shortening = int(age // (tau * config.budget.train_steps)) if correction else 0
        td_steps = max(1, agent.td_steps - shortening)
        td_steps_seen.add(td_steps)
        for k in range(agent.num_unroll_steps + 1):
            expected[b, k] = walked_value(bench.network, episode, t + k, td_steps, config)
    # The truth must depend on the network and, with correction, on the data's age.
    assert len(td_steps_seen) == (2 if correction else 1)
    assert np.std([value_at(bench.network, e, t, config) for e, t in origins]) > 1e-3
    np.testing.assert_allclose(batch.values, expected, atol=1e-5)


def test_policies_come_from_a_search_of_the_right_observation():
    config = reanalyzer_config(ratio=1.0, search_batch_size=7)
    origins, slices = episodes_and_slices(config)
    bench = Bench(config, search_type=TellingSearch)
    batch = bench.make(slices)
    expected = np.zeros_like(batch.policies)
    for b, (episode, t) in enumerate(origins):
        for k in range(config.agent.num_unroll_steps + 1):
            if t + k < len(episode):
                counts = told_counts(observation_at(episode, t + k, config))
                expected[b, k] = counts / counts.sum()
    np.testing.assert_allclose(batch.policies, expected, rtol=1e-6)
    _, exists = stored_policies(slices, config)
    sizes, noises = zip(*bench.search.calls, strict=True)
    assert (sum(sizes), all(noises)) == (exists.sum(), True)
    assert max(sizes) <= 7


@pytest.mark.parametrize(("ratio", "num_searched"), [(0.5, 4), (0.99, 7), (0.2, 1), (1.0, 8)])
def test_exactly_the_configured_share_of_slices_is_searched_anew(ratio, num_searched):
    config = reanalyzer_config(ratio=ratio)
    _, slices = episodes_and_slices(config)
    bench = Bench(config)
    batch = bench.make(slices)
    stored, exists = stored_policies(slices, config)
    is_fresh = (batch.policies != stored).any((1, 2))
    assert is_fresh.sum() == num_searched
    assert sum(size for size, _ in bench.search.calls) == exists[is_fresh].sum()
    fractions = batch.policies[is_fresh] * config.search.num_simulations
    np.testing.assert_allclose(fractions, np.round(fractions), atol=1e-5)


def test_policies_past_the_end_are_zero_whether_searched_or_not():
    config = reanalyzer_config()
    _, slices = episodes_and_slices(config)
    _, exists = stored_policies(slices, config)
    assert not exists.all()
    garbage = np.where(exists[:, :, None], slices.search_policies, np.float32(1 / 3))
    batch = Bench(config).make(slices._replace(search_policies=garbage))
    assert (batch.policies[~exists] == 0.0).all()


def test_without_reanalysed_policies_nothing_is_searched():
    config = reanalyzer_config(ratio=0.0)
    _, slices = episodes_and_slices(config)
    bench = Bench(config)
    np.testing.assert_array_equal(bench.make(slices).policies, stored_policies(slices, config)[0])
    assert bench.search.calls == []


def test_frames_are_those_of_the_unrolled_steps_and_what_identifies_a_slice_is_kept():
    config = reanalyzer_config()
    origins, slices = episodes_and_slices(config)
    batch = Bench(config).make(slices)
    span = config.env.num_stacked_frames + config.agent.num_unroll_steps
    np.testing.assert_array_equal(batch.frames, slices.frames[:, :span])
    for name in ("keys", "probabilities", "table_sizes", "weights_versions"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(slices, name))
    assert (batch.target_weights_versions == TARGET_TRAIN_STEP).all()
    assert [e.weights_versions[t] for e, t in origins] == batch.weights_versions.tolist()


def test_value_prefixes_are_sums_of_the_rewards_that_were_earned():
    config = reanalyzer_config()
    origins, slices = episodes_and_slices(config)
    batch = Bench(config).make(slices)
    horizon = config.agent.value_prefix_horizon
    for b, (episode, t) in enumerate(origins):
        for k in range(config.agent.num_unroll_steps):
            since_reset = episode.rewards[t + k - k % horizon : t + k + 1]
            np.testing.assert_allclose(batch.value_prefixes[b, k], since_reset.sum(), atol=1e-5)


def test_actions_past_the_end_are_random_and_the_others_are_those_taken():
    config = reanalyzer_config()
    origins, slices = episodes_and_slices(config)
    _, others = episodes_and_slices(config, seed=1)
    batch, other = Bench(config).make(slices), Bench(config).make(others)
    for b, (episode, t) in enumerate(origins):
        for k in range(config.agent.num_unroll_steps):
            assert batch.action_mask[b, k] == (t + k < len(episode))
            if t + k < len(episode):
                assert batch.actions[b, k] == episode.actions[t + k]
    drawn = np.concatenate([m.actions[~m.action_mask] for m in (batch, other)])
    assert set(drawn.tolist()) == {0, 1, 2}


def test_batch_that_finds_no_room_is_put_again_until_it_is_taken():
    config = reanalyzer_config()
    batches = [episodes_and_slices(config, seed=seed)[1] for seed in range(3)]
    bench = Bench(config, batches=batches, full_for=2)
    bench.publish_target_weights()
    bench.reanalyzer.run()
    assert [b.keys.tolist() for b in bench.sink.taken] == [b.keys.tolist() for b in batches]
    assert all(again is bench.sink.refused[0] for again in bench.sink.refused)
    assert len(bench.tracker.rows) == 4  # one a batch, and one when it leaves
    row = bench.tracker.rows[-2]
    assert row["reanalyzer/train_steps"] == TARGET_TRAIN_STEP
    assert {"reanalyzer/time/search_ms", "reanalyzer/time/wait_queue_ms"} <= row.keys()


def test_no_batch_is_made_before_the_first_target_weights():
    config = reanalyzer_config()
    bench = Bench(config, batches=[episodes_and_slices(config)[1]])
    bench.reanalyzer.run()
    assert bench.sink.taken == []


class LateSlices(FakeSlices):
    """Nothing is there when it is first asked."""

    def __init__(self, batches, stop):
        super().__init__(batches, stop)
        self.num_asked = 0

    def sample(self, num, *, timeout_s):
        self.num_asked += 1
        assert timeout_s <= 0.5, "training batches must not wait for steps to refresh"
        return None if self.num_asked == 1 else super().sample(num, timeout_s=timeout_s)


@pytest.mark.parametrize("correction", [True, False])
def test_refreshed_priorities_are_the_target_networks_errors_by_a_walk(correction):
    config = reanalyzer_config(correction=correction, refresh_share=1.0, search_batch_size=5)
    origins, stored_slices = episodes_and_slices(config, seed=7)
    bench = Bench(config, stored=FakeSlices([stored_slices], StopSignal()))
    batch = bench.make(episodes_and_slices(config)[1])
    agent, tau = config.agent, config.reanalyzer.off_policy_tau
    expected = []
    for episode, t in origins:
        age = TARGET_TRAIN_STEP - int(episode.weights_versions[t])
        shortening = int(age // (tau * config.budget.train_steps)) if correction else 0
        target = walked_value(bench.network, episode, t, agent.td_steps - shortening, config)
        expected.append(abs(value_at(bench.network, episode, t, config) - target))
    assert np.std(expected) > 1e-2
    np.testing.assert_allclose(batch.refreshed_priorities, expected, atol=1e-5)
    np.testing.assert_array_equal(batch.refreshed_steps, stored_slices.env_steps)
    assert {"reanalyzer/time/refresh_ms"} <= bench.tracker.rows[0].keys()


def test_refreshing_changes_nothing_else_of_a_batch():
    slices = episodes_and_slices(reanalyzer_config())[1]
    plain = Bench(reanalyzer_config()).make(slices)
    config = reanalyzer_config(refresh_share=1.0)
    stored = FakeSlices([episodes_and_slices(config, seed=7)[1]], StopSignal())
    refreshed = Bench(config, stored=stored).make(slices)
    for name in plain._fields:
        if not name.startswith("refreshed"):
            np.testing.assert_array_equal(getattr(refreshed, name), getattr(plain, name))
    np.testing.assert_array_equal(plain.env_steps, slices.env_steps)
    assert len(plain.refreshed_steps) == len(plain.refreshed_priorities) == 0


def test_batch_goes_out_without_refreshed_priorities_if_no_steps_come_at_once():
    config = reanalyzer_config(refresh_share=0.5)
    batches = [episodes_and_slices(config, seed=seed)[1] for seed in range(2)]
    half = SliceBatch(*(field[:4] for field in episodes_and_slices(config, seed=7)[1]))
    stored = LateSlices([half], StopSignal())
    bench = Bench(config, batches=batches, stored=stored)
    bench.publish_target_weights()
    bench.reanalyzer.run()
    first, second = bench.sink.taken
    assert first.refreshed_steps.tolist() == [-1] * 4
    np.testing.assert_array_equal(second.refreshed_steps, half.env_steps)

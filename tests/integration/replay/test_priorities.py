"""Priorities across the real replay service, refreshed ones from actor's writer to sampled item."""

import dataclasses
import time

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from efficientzero.config.fields import Config, LearnerConfig, ReplayConfig
from efficientzero.envs import probe_env_spec
from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.networks import make_network
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Ending, Shown
from efficientzero.search.batched_search import BatchedSearch
from learner.records.priority_feedback import PriorityFeedback
from reanalyzer.priority_refresh import PriorityRefresh
from reanalyzer.targets.target_maker import TargetMaker
from replay.info import ReplayInfo, wait_until_ready
from replay.snapshots.request import request_snapshot
from replay.steps.episode_writer import EpisodeWriter
from replay.steps.priorities import PriorityUpdater
from replay.steps.slice_sampler import SliceSampler
from replay.tables import STORED_STEPS
from replay.training_queue import TrainingQueueReader, TrainingQueueWriter
from tests.integration.replay.test_replay_service import (
    PATIENCE_S,
    draw,
    free_address,
    start_service,
)
from tests.support.cases.replay_cases import IMAGES, assert_slice_equals, random_episode, window
from tests.support.fakes import tiny_config

pytestmark = pytest.mark.reverb

LENGTH, NUM_EPISODES = 40, 3
CONFIG = Config(
    learner=LearnerConfig(batch_size=32),
    replay=ReplayConfig(capacity=10_000, priority_exponent=1.0, priority_refresh_share=0.5),
)


@pytest.fixture
def stop():
    signal_ = StopSignal()
    yield signal_
    signal_.set("end of test")


def serving(directory, stop, config):
    address = free_address()
    process = start_service(directory, address, config)
    assert wait_until_ready(address, stop, timeout_s=PATIENCE_S)
    return process, address


def end(process):
    process.kill()
    process.communicate()


def numbered_episodes(spec):
    """Return episodes whose env_steps count from 0 through all of them."""
    rng = np.random.default_rng(0)
    return [
        dataclasses.replace(
            random_episode(spec, rng, number=i, length=LENGTH, ending=Ending.TERMINATED),
            env_steps=i * LENGTH + np.arange(LENGTH),
            weights_versions=np.zeros(LENGTH, np.int64),
        )
        for i in range(NUM_EPISODES)
    ]


def write(episodes, spec, config, address, stop, *, priority_of=lambda step: 1.0):
    writer = EpisodeWriter(address, spec, config, stop)
    for episode in episodes:
        for t in range(len(episode)):
            step = episode.step(t)
            writer.append(step._replace(priority=priority_of(step.env_step)))
        writer.end(Shown(episode.frames[-1]), episode.ending)
    assert writer.lost_items == 0
    writer.close()


def uneven(step):
    return 10.0 ** (step % 7 - 3)


def test_service_returns_the_exact_probability_of_each_sample(tmp_path, stop):
    alpha, steps = 0.6, NUM_EPISODES * LENGTH
    replay = ReplayConfig(capacity=10_000, priority_exponent=alpha)
    process, address = serving(tmp_path, stop, dataclasses.replace(CONFIG, replay=replay))
    try:
        config = dataclasses.replace(CONFIG, replay=replay)
        write(numbered_episodes(IMAGES), IMAGES, config, address, stop, priority_of=uneven)
        total = sum(uneven(step) ** alpha for step in range(steps))
        sampler = SliceSampler(address, IMAGES, config, stop)
        seen = set()
        for _ in range(10):
            batch = draw(sampler, 64)
            for i, step in enumerate(batch.env_steps.tolist()):
                seen.add(step)
                assert batch.priorities[i] == pytest.approx(uneven(step), rel=1e-6)
                wanted = uneven(step) ** alpha / total
                assert batch.probabilities[i] == pytest.approx(wanted, rel=1e-6)
            assert (batch.table_sizes == steps).all()
        assert len({uneven(step) for step in seen}) >= 3  # a fourth is missed once in 2,000 runs
    finally:
        end(process)


def test_priority_of_an_evicted_step_changes_nothing(tmp_path, stop):
    replay = ReplayConfig(capacity=LENGTH, priority_exponent=1.0)
    config = dataclasses.replace(CONFIG, replay=replay)
    process, address = serving(tmp_path, stop, config)
    try:
        first, second, third = numbered_episodes(IMAGES)
        write([first], IMAGES, config, address, stop)
        sampler = SliceSampler(address, IMAGES, config, stop, num_slices_ahead=1)
        old_keys = np.unique(draw(sampler, 64).keys)
        write([second, third], IMAGES, config, address, stop)
        updater = PriorityUpdater(address, stop)
        updater.update(old_keys, np.full(len(old_keys), 1e6))
        updater.update(old_keys[:1], np.array([1e6]))
        for _ in range(2):
            draw(sampler, 64)  # what was sampled ahead
        for _ in range(5):
            batch = draw(sampler, 64)
            assert (batch.table_sizes == LENGTH).all()
            assert batch.env_steps.min() >= 2 * LENGTH
            np.testing.assert_allclose(batch.probabilities, 1 / LENGTH, rtol=1e-6)
        assert updater.dropped_updates == 0
    finally:
        end(process)


def test_stored_steps_come_back_with_a_snapshot(tmp_path, stop):
    process, address = serving(tmp_path, stop, CONFIG)
    episodes = numbered_episodes(IMAGES)
    try:
        write(episodes, IMAGES, CONFIG, address, stop)
        request_snapshot(address, timeout_s=PATIENCE_S)
    finally:
        end(process)
    process, address = serving(tmp_path, stop, CONFIG)
    try:
        batch = draw(SliceSampler(address, IMAGES, CONFIG, stop, table=STORED_STEPS), 64)
        for i in range(64):
            number, t = divmod(int(batch.env_steps[i]), LENGTH)
            assert_slice_equals(batch, i, window(episodes[number], t, IMAGES, CONFIG.agent))
    finally:
        end(process)


def test_stored_steps_are_drawn_uniformly_whatever_their_priorities(tmp_path, stop):
    process, address = serving(tmp_path, stop, CONFIG)
    try:
        episodes = numbered_episodes(IMAGES)
        write(episodes, IMAGES, CONFIG, address, stop, priority_of=uneven)
        counts = ReplayInfo(address).read()
        assert counts is not None
        assert (counts.num_steps, counts.steps_inserted, counts.num_tables) == (120, 120, 3)
        sampler = SliceSampler(
            address, IMAGES, CONFIG, stop, table=STORED_STEPS, num_slices_ahead=16
        )
        drawn = np.zeros(NUM_EPISODES * LENGTH)
        for _ in range(60):
            batch = draw(sampler, 64)
            np.add.at(drawn, batch.env_steps, 1)
        for i in range(64):
            number, t = divmod(int(batch.env_steps[i]), LENGTH)
            assert_slice_equals(batch, i, window(episodes[number], t, IMAGES, CONFIG.agent))
        # Reverb's draws cannot be seeded: wrong once in a billion. By priority they give 0.0.
        assert chisquare(drawn).pvalue > 1e-9, drawn
    finally:
        end(process)


def test_oldest_stored_steps_go_with_those_that_are_sampled_by_priority(tmp_path, stop):
    config = dataclasses.replace(CONFIG, replay=dataclasses.replace(CONFIG.replay, capacity=32))
    process, address = serving(tmp_path, stop, config)
    try:
        write(numbered_episodes(IMAGES), IMAGES, config, address, stop)
        for options in ({}, {"table": STORED_STEPS}):
            sampler = SliceSampler(address, IMAGES, config, stop, **options)
            seen = {int(step) for _ in range(8) for step in draw(sampler, 64).env_steps}
            assert min(seen) == NUM_EPISODES * LENGTH - 32
    finally:
        end(process)


def small_config():
    config = tiny_config()
    replay = dataclasses.replace(
        config.replay, capacity=10_000, priority_exponent=1.0, priority_refresh_share=1.0
    )
    budget = dataclasses.replace(config.budget, env_steps=1_000)
    return dataclasses.replace(config, replay=replay, budget=budget)


def make_targets(config, spec):
    torch.manual_seed(0)
    network = make_network(config, spec, training=False).eval()
    search = BatchedSearch(
        network,
        search=config.search,
        agent=config.agent,
        policy_width=spec.num_actions,
        batch_size=48,
        device=torch.device("cpu"),
        generator=np.random.default_rng(0),
    )
    return TargetMaker(
        config,
        num_actions=spec.num_actions,
        search=search,
        generator=np.random.default_rng(1),
        timer=SectionTimer("reanalyzer"),
    )


def test_refreshed_priorities_reach_the_items_that_are_sampled_by_priority(tmp_path, stop):
    config = small_config()
    spec, size = probe_env_spec(config.env), config.learner.batch_size
    process, address = serving(tmp_path, stop, config)
    try:
        write(numbered_episodes(spec), spec, config, address, stop)
        targets = make_targets(config, spec)
        stored = SliceSampler(address, spec, config, stop, table=STORED_STEPS)
        refresh = PriorityRefresh(size, stored, targets)
        sampler = SliceSampler(address, spec, config, stop)
        writer = TrainingQueueWriter(address, stop)
        reader = TrainingQueueReader(address, spec, config, stop)
        updater = PriorityUpdater(address, stop)
        feedback = PriorityFeedback(config, updater)

        wanted: dict[int, float] = {}
        for train_step in range(60):
            made = targets.make_batch(draw(sampler, size), train_step)
            made = refresh.added_to(made, train_step)
            assert writer.put(made, timeout_s=PATIENCE_S)
            batch = reader.get(timeout_s=PATIENCE_S)
            assert batch is not None
            refreshed = dict(
                zip(batch.refreshed_steps, batch.refreshed_priorities.tolist(), strict=True)
            )
            before = {step for step in refreshed if step in wanted}
            feedback.update(batch, np.full(size, 3.0), train_step)
            wanted |= {int(step): refreshed[step] for step in before}
            wanted |= {int(step): 3.0 for step in batch.env_steps}
        # Both kinds are among them, of most steps.
        assert len(wanted) > 80
        assert len({value for value in wanted.values() if value != 3.0}) > 20
        deadline = time.monotonic() + PATIENCE_S
        right: set[int] = set()
        while len(right) < len(wanted) and time.monotonic() < deadline:
            batch = draw(sampler, size)
            for step, priority in zip(batch.env_steps.tolist(), batch.priorities, strict=True):
                if step in wanted and abs(priority - wanted[step]) <= 1e-6 * wanted[step]:
                    right.add(step)
        # The smallest priorities may never be drawn again.
        missing = set(wanted) - right
        assert all(wanted[step] < 0.02 for step in missing), missing
        assert updater.dropped_updates == 0
    finally:
        end(process)

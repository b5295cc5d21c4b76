"""Replay in a deterministic run: a real service, several writers, one reader that draws by seed."""

import dataclasses
import time

import numpy as np
import pytest

from efficientzero.config.fields import ClusterConfig
from efficientzero.process.runtime import PlainError, StopSignal
from efficientzero.schema import Ending, Shown
from replay.info import ReplayInfo, wait_until_ready
from replay.steps.episode_writer import EpisodeWriter, StepsLost
from replay.steps.ordered_sampler import OrderedSampler
from tests.integration.replay.test_replay_service import (
    CONFIG,
    PATIENCE_S,
    free_address,
    start_service,
)
from tests.support.cases.replay_cases import (
    IMAGES,
    POSITIONS_PER_EPISODE,
    assert_slice_equals,
    random_episode,
    window,
)

pytestmark = pytest.mark.reverb

IN_ORDER = dataclasses.replace(CONFIG, cluster=ClusterConfig(deterministic=True))
LENGTHS = (31, 17, 40, 8)


@pytest.fixture
def stop():
    signal_ = StopSignal()
    yield signal_
    signal_.set("end of test")


@pytest.fixture
def process_and_address(tmp_path, stop):
    address = free_address()
    process = start_service(tmp_path / "run", address, IN_ORDER)
    try:
        assert wait_until_ready(address, stop, timeout_s=PATIENCE_S)
        yield process, address
    finally:
        process.kill()
        process.communicate()


def play(episodes, address, stop):
    """Write the episodes side by side, a step of each in turn, as an actor does."""
    writers = [EpisodeWriter(address, IMAGES, IN_ORDER, stop) for _ in episodes]
    for t in range(max(map(len, episodes))):
        for episode, writer in zip(episodes, writers, strict=True):
            if t < len(episode):
                writer.append(episode.step(t))
            if t + 1 == len(episode):
                writer.end(Shown(episode.frames[-1]), episode.ending)
    for writer in writers:
        writer.close()


def make_sampler(address, stop, seed=0):
    return OrderedSampler(address, IMAGES, IN_ORDER, stop, generator=np.random.default_rng(seed))


def episodes_of(seed):
    rng = np.random.default_rng(seed)
    return [
        random_episode(IMAGES, rng, number=i, length=length, ending=Ending.TERMINATED)
        for i, length in enumerate(LENGTHS)
    ]


def origin(batch, i):
    """Return which step of which episode a slice starts at."""
    return divmod(int(batch.root_values[i, 0]), POSITIONS_PER_EPISODE)


def test_steps_get_the_same_keys_and_draws_each_time_and_are_whole(tmp_path, stop):
    episodes, drawn = episodes_of(3), []
    for attempt in range(2):
        address = free_address()
        process = start_service(tmp_path / str(attempt), address, IN_ORDER)
        try:
            assert wait_until_ready(address, stop, timeout_s=PATIENCE_S)
            sampler = make_sampler(address, stop, seed=4)
            play(episodes, address, stop)
            batch = sampler.sample(32, timeout_s=PATIENCE_S)
            assert batch is not None
            for i in range(32):
                number, t = origin(batch, i)
                assert_slice_equals(batch, i, window(episodes[number], t, IMAGES, IN_ORDER.agent))
            assert (batch.table_sizes == sum(LENGTHS)).all()
            np.testing.assert_allclose(batch.probabilities, 1 / sum(LENGTHS))
            drawn.append([(int(batch.keys[i]), origin(batch, i)) for i in range(32)])
        finally:
            process.kill()
            process.communicate()
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 16


def test_all_that_has_arrived_can_be_drawn(process_and_address, stop):
    _, address = process_and_address
    episodes = episodes_of(5)
    play(episodes[:2], address, stop)
    sampler = make_sampler(address, stop)
    seen = {origin(b, i) for b in batches(sampler, 20) for i in range(32)}
    assert seen == {(n, t) for n in range(2) for t in range(LENGTHS[n])}
    play(episodes[2:], address, stop)
    sampler.update(range(LENGTHS[0] + LENGTHS[1]), [1e-6] * (LENGTHS[0] + LENGTHS[1]))
    seen = {origin(b, i) for b in batches(sampler, 20) for i in range(32)}
    assert seen == {(n, t) for n in range(2, 4) for t in range(LENGTHS[n])}
    counts = ReplayInfo(address).read()
    assert counts is not None
    assert counts.steps_inserted == sum(LENGTHS)
    assert counts.num_steps == 0  # all taken


def test_more_steps_than_replay_keeps_may_arrive_between_two_turns(process_and_address, stop):
    _, address = process_and_address
    config = dataclasses.replace(IN_ORDER, replay=dataclasses.replace(IN_ORDER.replay, capacity=10))
    sampler = OrderedSampler(address, IMAGES, config, stop, generator=np.random.default_rng(0))
    episodes = episodes_of(7)
    for episode in episodes:
        play([episode], address, stop)
    seen = {origin(b, i) for b in batches(sampler, 20) for i in range(32)}
    # The last episode's eight steps, and before them the last two of the third.
    assert seen == {(2, 38), (2, 39), *((3, t) for t in range(8))}


def test_a_stop_ends_the_wait_for_steps_that_do_not_come(process_and_address, stop):
    _, address = process_and_address
    play(episodes_of(5)[-1:], address, stop)
    assert make_sampler(address, stop).sample(4, timeout_s=PATIENCE_S) is not None  # takes them all
    stopped = StopSignal()
    sampler = make_sampler(address, stopped)
    stopped.set("test")
    began, cpu_began = time.monotonic(), time.thread_time()
    assert sampler.sample(4, timeout_s=30.0) is None
    assert time.monotonic() - began < 10.0
    assert time.thread_time() - cpu_began < 1.0


def batches(sampler, num):
    for _ in range(num):
        batch = sampler.sample(32, timeout_s=PATIENCE_S)
        assert batch is not None
        yield batch


def test_turn_without_any_step_is_an_error_that_says_what_to_do(process_and_address, stop):
    _, address = process_and_address
    with pytest.raises(PlainError, match=r"raise budget\.warmup_env_steps"):
        make_sampler(address, stop).sample(32, timeout_s=PATIENCE_S)


def test_steps_that_replay_does_not_take_are_an_error(process_and_address, stop):
    process, address = process_and_address
    (episode, *_) = episodes_of(6)
    writer = EpisodeWriter(address, IMAGES, IN_ORDER, stop, budget_s=0.1)
    writer.append(episode.step(0))
    process.kill()
    process.wait()
    with pytest.raises(StepsLost, match="a deterministic run cannot go on"):
        writer.end(Shown(episode.frames[-1]), Ending.TERMINATED)

"""Replay in several services: real processes, and every client that spreads over them."""

import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.stats import chisquare

from efficientzero.config import Config, LearnerConfig, ReplayConfig
from efficientzero.run_folder import RunInfo
from efficientzero.runtime import StopSignal
from efficientzero.schema import Ending
from replay.info import ReplayInfo
from replay.priority_router import PriorityRouter
from replay.shard_watch import (
    exponents_of,
    steps_in_replay,
    wait_for_shards,
    watch_shards,
)
from replay.sharded_sampler import ShardedSampler
from replay.sharded_writer import ShardedWriter
from replay.snapshot_request import SnapshotFailed, request_snapshots
from replay.tables import STORED_STEPS, TRAJECTORIES
from tests.integration.test_replay_service import PATIENCE_S, ROOT, free_address
from tests.replay_cases import IMAGES, VECTORS, assert_slice_equals, random_episode, window

pytestmark = pytest.mark.reverb

EXPONENT = 0.6
CONFIG = Config(
    learner=LearnerConfig(batch_size=64),
    replay=ReplayConfig(
        capacity=10_000, priority_exponent=EXPONENT, num_shards=2, priority_refresh_share=0.25
    ),
)


class Shards:
    """The services of a run, each a process that can be killed and started again."""

    def __init__(self, folder, num, config=CONFIG):
        folder.mkdir()
        self.addresses = [free_address() for _ in range(num)]
        self.run = RunInfo(
            run_id="test",
            run_uid="00000000",
            group="test",
            directory=folder,
            config=config,
            env_spec=IMAGES,
            replay_address=self.addresses[0],
            more_replay_addresses=tuple(self.addresses[1:]),
            learner_address="127.0.0.1:1",
            tracking_mode="disabled",
            versions={},
        )
        self.run.save()
        self.processes = [self.start(number) for number in range(num)]

    def start(self, number):
        config = str(self.run.config_path)
        command = [sys.executable, "-m", "replay", "--config", config, "--index", str(number)]
        return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)

    def kill(self, number):
        self.processes[number].kill()
        self.processes[number].wait()

    def restart(self, number):
        self.processes[number] = self.start(number)

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()

    def counts(self, number):
        counts = ReplayInfo(self.addresses[number]).read(timeout_s=30)
        assert counts is not None
        return counts


@pytest.fixture
def stop():
    signal_ = StopSignal()
    yield signal_
    signal_.set("end of test")


@pytest.fixture
def shards(tmp_path, stop):
    services = Shards(tmp_path / "run", 2)
    try:
        assert wait_for_shards(services.addresses, stop, timeout_s=PATIENCE_S)
        yield services
    finally:
        services.close()


def wait_until(what, is_so):
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.05)


def play(writer, episode, priority=1.0):
    for t in range(len(episode)):
        writer.append(episode.step(t)._replace(priority=priority))
    writer.end(episode.frames[-1], episode.ending)


def episodes_of(lengths, spec, seed=0):
    rng = np.random.default_rng(seed)
    return [
        random_episode(spec, rng, number=i, length=length, ending=Ending.TERMINATED)
        for i, length in enumerate(lengths)
    ]


def board_of(shards, stop):
    board = watch_shards(shards.addresses, stop, exponents=exponents_of(CONFIG.replay))
    wait_until("all shards", lambda: all(board.counts()))
    return board


def writer_to(board, spec, stop):
    return ShardedWriter(board, spec, CONFIG, stop, first=0)


def sampler_of(board, spec, stop, table=TRAJECTORIES):
    return ShardedSampler(
        board,
        spec,
        CONFIG,
        stop,
        generator=np.random.default_rng(0),
        table=table,
        num_slices_ahead=64,
    )


def steps_told(board):
    """Return how many steps can be drawn from all shards, as the board has it."""
    return sum(mass.size for mass in board.masses(TRAJECTORIES))


def draw(sampler, num):
    batch = sampler.sample(num, timeout_s=PATIENCE_S)
    assert batch is not None
    return batch


def test_one_environment_fills_both_shards_and_every_slice_is_exact(shards, stop):
    episodes = episodes_of([30, 17, 41, 5, 22], IMAGES)
    board = board_of(shards, stop)
    writer = writer_to(board, IMAGES, stop)
    for episode in episodes:
        play(writer, episode)
    writer.close()
    assert writer.lost_items == 0
    assert [shards.counts(n).steps_inserted for n in range(2)] == [30 + 41 + 22, 17 + 5]
    assert steps_in_replay(shards.addresses, timeout_s=30) == 115
    wait_until("all steps", lambda: steps_told(board) == 115)
    for table in (TRAJECTORIES, STORED_STEPS):
        sampler = sampler_of(board, IMAGES, stop, table)
        batch, seen = draw(sampler, 256), set()
        for i, value in enumerate(batch.root_values[:, 0]):
            number, t = divmod(int(value), 10_000)
            assert_slice_equals(batch, i, window(episodes[number], t, IMAGES, CONFIG.agent))
            assert batch.shards[i] == number % 2
            seen.add(number)
        assert (batch.table_sizes == 115).all()
        assert seen == set(range(5))


def test_draws_are_those_of_one_table_with_uneven_shards(shards, stop):
    """80 steps of priority 0.3 to 3 in one shard, 20 of 5 to 15 in the other."""
    rng = np.random.default_rng(1)
    episodes = episodes_of([80, 20], VECTORS)
    priorities = [rng.uniform(0.3, 3.0, 80), rng.uniform(5.0, 15.0, 20)]
    board = board_of(shards, stop)
    writer = writer_to(board, VECTORS, stop)
    for episode, values in zip(episodes, priorities, strict=True):
        for t in range(len(episode)):
            writer.append(episode.step(t)._replace(priority=float(values[t])))
        writer.end(episode.frames[-1], episode.ending)
    writer.close()
    flat = np.concatenate(priorities)
    wanted = {"priority": flat**EXPONENT / (flat**EXPONENT).sum(), "uniform": np.full(100, 0.01)}
    wait_until("all steps", lambda: steps_told(board) == 100)
    for name, table in (("priority", TRAJECTORIES), ("uniform", STORED_STEPS)):
        sampler = sampler_of(board, VECTORS, stop, table)
        counted = np.zeros(100)
        for _ in range(60):
            batch = draw(sampler, 128)
            number, t = np.divmod(batch.root_values[:, 0].astype(int), 10_000)
            places = 80 * number + t
            assert (batch.shards == number).all()
            np.testing.assert_allclose(batch.probabilities, wanted[name][places], rtol=1e-4)
            assert (batch.table_sizes == 100).all()
            np.add.at(counted, places, 1)
        assert chisquare(counted, wanted[name] * counted.sum()).pvalue > 1e-9


def test_priorities_reach_the_shard_that_holds_the_item(shards, stop):
    episodes = episodes_of([20, 20], VECTORS)
    board = board_of(shards, stop)
    writer = writer_to(board, VECTORS, stop)
    for episode in episodes:
        play(writer, episode)
    writer.close()
    sampler, found = sampler_of(board, VECTORS, stop), {}
    while len(found) < 40:
        batch = draw(sampler, 64)
        for shard, key, value in zip(
            batch.shards, batch.keys, batch.root_values[:, 0], strict=True
        ):
            found[int(value)] = (int(shard), int(key))
    # The first shard's steps get priority 2, the second's 8; its last one 1,000.
    values = sorted(found)
    places = [found[value] for value in values]
    priorities = np.array([2.0] * 20 + [8.0] * 19 + [1_000.0])
    router = PriorityRouter(shards.addresses, stop, board=board)
    router.update(
        np.array([key for _, key in places], np.uint64),
        priorities,
        np.array([shard for shard, _ in places], np.int32),
    )
    masses = [20 * 2.0**EXPONENT, 19 * 8.0**EXPONENT + 1_000.0**EXPONENT]

    def has_arrived():
        got = [mass.mass for mass in board.masses(TRAJECTORIES)]
        return bool(np.allclose(got, masses, rtol=1e-6))

    wait_until("the priorities", has_arrived)
    batch = draw(sampler_of(board, VECTORS, stop), 64)
    wanted = dict(zip(values, priorities, strict=True))
    assert batch.priorities.tolist() == [wanted[int(v)] for v in batch.root_values[:, 0]]
    assert router.dropped_updates == 0


def test_a_killed_shard_is_left_out_and_used_again_when_it_is_back(shards, stop, caplog):
    episodes = episodes_of([20] * 6, VECTORS)
    board = board_of(shards, stop)
    writer, sampler = writer_to(board, VECTORS, stop), sampler_of(board, VECTORS, stop)
    play(writer, episodes[0])
    play(writer, episodes[1])
    assert {0, 1} == set(draw(sampler, 64).shards.tolist())
    names = request_snapshots(shards.addresses, timeout_s=PATIENCE_S).split(",")
    assert len(names) == 2
    play(writer, episodes[2])
    for step in range(10):  # of an episode that the loss cuts in two
        writer.append(episodes[3].step(step))
    shards.kill(1)
    wait_until("the loss", lambda: board.link(1) is None)
    for step in range(10, 20):
        writer.append(episodes[3].step(step))
    writer.end(episodes[3].frames[-1], episodes[3].ending)
    assert writer.lost_items == 20
    play(writer, episodes[4])
    play(writer, episodes[5])  # the lost one's turn
    assert writer.lost_items == 20
    assert shards.counts(0).steps_inserted == 80
    wait_until("the rest", lambda: steps_told(board) == 80)
    batch = draw(sampler, 64)
    assert set(batch.shards.tolist()) == {0}
    assert (batch.table_sizes == 80).all()
    router = PriorityRouter(shards.addresses, stop, board=board)
    router.update(np.array([1, 2], np.uint64), np.ones(2), np.array([0, 1], np.int32))
    assert router.dropped_updates == 1
    with pytest.raises(SnapshotFailed, match=f"replay at {shards.addresses[1]} is away"):
        request_snapshots(shards.addresses, timeout_s=PATIENCE_S)
    assert steps_in_replay(shards.addresses, timeout_s=30) == 80
    # Nobody waits for it longer than for those who may still come.
    assert wait_for_shards(shards.addresses, stop, timeout_s=0.5)
    assert "the run goes on without what it holds" in caplog.text
    away = f"replay shard 1 at {shards.addresses[1]} is away with the 20 steps it holds"
    assert len([r for r in caplog.records if r.message.startswith(away)]) == 1  # said once

    shards.restart(1)
    wait_until("the return", lambda: board.link(1) is not None)
    assert shards.counts(1).steps_inserted == 20
    for episode in episodes[:2]:
        play(writer, episode)
    writer.close()
    assert [shards.counts(n).steps_inserted for n in range(2)] == [100, 40]
    wait_until("its share", lambda: {0, 1} == set(draw(sampler, 64).shards.tolist()))

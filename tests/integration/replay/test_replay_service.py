"""The replay service as a process of its own, and every client of it."""

import dataclasses
import logging
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from efficientzero.config.fields import Config, LearnerConfig, ReplayConfig
from efficientzero.process.free_ports import free_port
from efficientzero.process.runtime import EXIT_FINAL, StopSignal
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import Ending, Shown, SliceBatch
from replay.format.batch_codec import encode_batch
from replay.info import ReplayCounts, ReplayInfo, wait_until_ready
from replay.steps.episode_writer import EpisodeWriter
from replay.steps.priorities import PriorityUpdater
from replay.steps.slice_sampler import SliceSampler
from replay.training_queue import TrainingQueueReader, TrainingQueueWriter
from tests.support.cases.replay_cases import (
    IMAGES,
    POSITIONS_PER_EPISODE,
    VECTORS,
    assert_same_training_batch,
    assert_slice_equals,
    random_episode,
    random_training_batch,
    window,
)

pytestmark = pytest.mark.reverb

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0
CONFIG = Config(
    learner=LearnerConfig(batch_size=32),
    replay=ReplayConfig(capacity=10_000, priority_exponent=1.0),
)


def free_address():
    return f"127.0.0.1:{free_port()}"


def start_service(directory, address, config=CONFIG):
    run = RunInfo(
        run_id="test",
        run_uid="00000000",
        group="test",
        directory=directory,
        config=config,
        env_spec=IMAGES,
        replay_address=address,
        learner_address="127.0.0.1:1",
        tracking_mode="disabled",
        versions={},
    )
    directory.mkdir(parents=True, exist_ok=True)
    run.save()
    return subprocess.Popen(
        [sys.executable, "-m", "replay", "--config", str(run.config_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def stop():
    signal_ = StopSignal()
    yield signal_
    signal_.set("end of test")


@pytest.fixture
def process_and_address(tmp_path, stop):
    address = free_address()
    process = start_service(tmp_path / "run", address)
    try:
        assert wait_until_ready(address, stop, timeout_s=PATIENCE_S)
        yield process, address
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def address(process_and_address):
    return process_and_address[1]


def write(episodes, spec, address, stop):
    writer = EpisodeWriter(address, spec, CONFIG, stop)
    for episode in episodes:
        # One buffer for all frames, as environments have: the writer must copy.
        frame = np.empty_like(episode.frames[0])
        for t in range(len(episode)):
            frame[:] = episode.frames[t]
            writer.append(episode.step(t)._replace(frame=frame))
        frame[:] = episode.frames[-1]
        writer.end(Shown(frame), episode.ending)
    assert writer.lost_items == 0
    writer.close()


def draw(sampler: SliceSampler, num: int) -> SliceBatch:
    batch = sampler.sample(num, timeout_s=PATIENCE_S)
    assert batch is not None
    return batch


def counts_of(address: str) -> ReplayCounts:
    counts = ReplayInfo(address).read()
    assert counts is not None
    return counts


@pytest.mark.parametrize("spec", [IMAGES, VECTORS])
def test_every_sampled_slice_is_the_window_of_its_episode(spec, address, stop):
    rng = np.random.default_rng(3)
    lengths = [*range(1, 25), 30, 39, 40, 41, 60]
    endings = [Ending.TERMINATED, Ending.TRUNCATED]
    episodes = [
        random_episode(spec, rng, number=i, length=length, ending=endings[i % 2])
        for i, length in enumerate(lengths)
    ]
    write(episodes, spec, address, stop)
    counts = counts_of(address)
    assert counts.steps_inserted == counts.num_steps == sum(lengths)

    sampler = SliceSampler(address, spec, CONFIG, stop)
    unseen = {(i, t) for i, length in enumerate(lengths) for t in range(length)}
    keys: dict[tuple[int, int], int] = {}
    while unseen:
        batch = draw(sampler, 32)
        for i in range(32):
            number, t = divmod(int(batch.root_values[i, 0]), POSITIONS_PER_EPISODE)
            assert_slice_equals(batch, i, window(episodes[number], t, spec, CONFIG.agent))
            assert batch.table_sizes[i] == sum(lengths)
            assert batch.priorities[i] == pytest.approx(1.0, rel=1e-5)
            assert batch.probabilities[i] == pytest.approx(1 / sum(lengths), rel=1e-5)
            assert keys.setdefault((number, t), int(batch.keys[i])) == batch.keys[i]
            unseen.discard((number, t))
    assert len(set(keys.values())) == len(keys)


def test_a_batch_keeps_its_content_during_the_next_call_and_gives_its_memory_to_the_one_after(
    address, stop
):
    rng = np.random.default_rng(0)
    write(
        [random_episode(VECTORS, rng, number=0, length=50, ending=Ending.TERMINATED)],
        VECTORS,
        address,
        stop,
    )
    sampler = SliceSampler(address, VECTORS, CONFIG, stop)
    first = draw(sampler, 8)
    kept = first.frames.copy()
    second = draw(sampler, 8)
    np.testing.assert_array_equal(first.frames, kept)
    assert not np.shares_memory(first.frames, second.frames)
    third = draw(sampler, 8)
    assert np.shares_memory(first.frames, third.frames)


def share_of_key(sampler, key):
    batch = draw(sampler, 64)
    return float((batch.keys == key).mean())


def test_updated_priorities_change_what_is_sampled(address, stop):
    rng = np.random.default_rng(0)
    write(
        [random_episode(VECTORS, rng, number=0, length=50, ending=Ending.TERMINATED)],
        VECTORS,
        address,
        stop,
    )
    sampler = SliceSampler(address, VECTORS, CONFIG, stop)
    keys = draw(sampler, 64).keys.copy()
    updater = PriorityUpdater(address, stop)
    # 450 of 500 in all; what was sampled ahead still follows the old priorities.
    updater.update(keys[:1], np.array([450.0]))
    shares = [share_of_key(sampler, keys[0]) for _ in range(20)]
    assert np.mean(shares[10:]) == pytest.approx(450 / 499, abs=0.06)  # 6 standard errors


def test_priorities_that_would_poison_the_table_leave_it_sampling(address, stop):
    rng = np.random.default_rng(0)
    write(
        [random_episode(VECTORS, rng, number=0, length=40, ending=Ending.TERMINATED)],
        VECTORS,
        address,
        stop,
    )
    sampler = SliceSampler(address, VECTORS, CONFIG, stop)
    keys = np.unique(draw(sampler, 64).keys)
    updater = PriorityUpdater(address, stop)
    for poison in (np.inf, -np.inf, np.nan, -1.0):
        updater.update(keys, np.full(len(keys), poison))
    updater.update(keys, np.ones(len(keys)))
    updater.update(np.array([1, 2], np.uint64), np.ones(2))  # evicted long ago
    for _ in range(4):
        late = draw(sampler, 64)
    assert len(np.unique(late.keys)) > 10
    assert np.isfinite(late.probabilities).all()
    assert updater.dropped_updates == 0


def test_the_training_queue_is_first_in_first_out_and_blocks_when_full(address, stop):
    sent = [random_training_batch(VECTORS, CONFIG, seed=seed) for seed in range(6)]
    writer = TrainingQueueWriter(address, stop)
    # queue_size batches in the queue, and one that the writer holds.
    for batch in sent[:3]:
        assert writer.put(batch, timeout_s=PATIENCE_S)
    assert not writer.put(sent[3], timeout_s=0.5)
    assert counts_of(address).num_queued_batches == CONFIG.replay.queue_size

    reader = TrainingQueueReader(address, VECTORS, CONFIG, stop)
    for i, wanted in enumerate(sent):
        if i >= 1 and i + 2 < len(sent):
            assert writer.put(sent[i + 2], timeout_s=PATIENCE_S)
        got = reader.get(timeout_s=PATIENCE_S)
        assert got is not None
        assert_same_training_batch(got, wanted)
    assert reader.get(timeout_s=0.2) is None
    assert writer.lost_batches == 0


def test_a_batch_that_does_not_fit_the_run_is_dropped_by_its_reader(address, stop, caplog):
    writer = TrainingQueueWriter(address, stop)
    assert writer.put(random_training_batch(VECTORS, CONFIG, seed=0), timeout_s=PATIENCE_S)
    reader = TrainingQueueReader(address, IMAGES, CONFIG, stop)
    with caplog.at_level(logging.WARNING):
        assert reader.get(timeout_s=1.0) is None
    assert reader.dropped_batches == 1
    assert "training batch, frames: got" in caplog.text
    stop.check()


def test_the_reader_names_a_damaged_batch_and_goes_on_with_the_next(
    address, stop, monkeypatch, caplog
):
    def damaged(batch):
        encoded = bytearray(encode_batch(batch))
        encoded[-600:-594] = bytes(6)
        return bytes(encoded)

    sent = random_training_batch(IMAGES, CONFIG, seed=0)
    writer = TrainingQueueWriter(address, stop)
    with monkeypatch.context() as patched:
        patched.setattr("replay.training_queue.encode_batch", damaged)
        assert writer.put(sent, timeout_s=PATIENCE_S)
    assert writer.put(sent, timeout_s=PATIENCE_S)
    reader = TrainingQueueReader(address, IMAGES, CONFIG, stop)
    with caplog.at_level(logging.WARNING):
        got = reader.get(timeout_s=PATIENCE_S)
    assert got is not None
    assert_same_training_batch(got, sent)
    assert reader.dropped_batches == 1
    assert "damaged between reanalyzer and learner" in caplog.text
    stop.check()


def test_without_an_exponent_steps_are_sampled_alike_whatever_their_priorities(tmp_path, stop):
    address = free_address()
    process = start_service(tmp_path, address, Config(replay=ReplayConfig(priority_exponent=0.0)))
    try:
        assert wait_until_ready(address, stop, timeout_s=PATIENCE_S)
        episode = random_episode(
            VECTORS, np.random.default_rng(0), number=0, length=49, ending=Ending.TERMINATED
        )
        writer = EpisodeWriter(address, VECTORS, CONFIG, stop)
        for t in range(len(episode)):
            writer.append(episode.step(t)._replace(priority=10.0 ** (t % 5)))
        writer.end(Shown(episode.frames[-1]), episode.ending)
        writer.close()
        sampler = SliceSampler(address, VECTORS, CONFIG, stop)
        counts = np.zeros(49)
        for _ in range(40):
            batch = draw(sampler, 64)
            np.testing.assert_allclose(batch.table_sizes * batch.probabilities, 1.0, rtol=1e-12)
            np.add.at(counts, batch.root_values[:, 0].astype(int), 1)
        # Reverb's draws cannot be seeded: wrong once in a billion. By priority they give 0.0.
        assert chisquare(counts).pvalue > 1e-9, counts
    finally:
        process.kill()
        process.communicate()


def test_the_oldest_steps_go_first(tmp_path, stop):
    address = free_address()
    config = Config(replay=ReplayConfig(capacity=30))
    process = start_service(tmp_path, address, config)
    try:
        assert wait_until_ready(address, stop, timeout_s=PATIENCE_S)
        rng = np.random.default_rng(0)
        episodes = [
            random_episode(VECTORS, rng, number=i, length=20, ending=Ending.TERMINATED)
            for i in range(4)
        ]
        write(episodes, VECTORS, address, stop)
        counts = counts_of(address)
        assert (counts.num_steps, counts.steps_inserted) == (30, 80)
        batch = draw(SliceSampler(address, VECTORS, CONFIG, stop), 64)
        assert batch.root_values[:, 0].min() >= 2 * POSITIONS_PER_EPISODE + 10
    finally:
        process.kill()
        process.communicate()


def test_the_service_can_be_reached_over_127_0_0_1_only(address):
    port = int(address.split(":")[1])
    socket.create_connection(("127.0.0.1", port), timeout=5.0).close()
    # All of 127.0.0.0/8 is this machine: a server on every address would answer here.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5.0)
    with pytest.raises(OSError, match=r"refused|assign|unreachable"):
        socket.create_connection(("::1", port), timeout=5.0)


def test_a_second_service_on_the_port_is_refused_with_one_line(address, tmp_path, stop):
    second = start_service(tmp_path / "second", address)
    _, output = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == EXIT_FINAL
    port = address.split(":")[1]
    (line,) = output.splitlines()
    assert line.endswith(f" replay-0 ERROR port {port}: another replay service runs there")
    assert ReplayInfo(address).read() is not None


def test_a_service_on_somebody_elses_port_is_refused_with_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        port = other.getsockname()[1]
        process = start_service(tmp_path, f"127.0.0.1:{port}")
        _, output = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == EXIT_FINAL
    (line,) = output.splitlines()
    assert line.endswith(f" replay-0 ERROR port {port}: another process listens there")


def test_the_service_stops_when_asked_to_while_clients_hang_on_it(process_and_address, stop):
    process, address = process_and_address
    sampler = SliceSampler(address, VECTORS, CONFIG, stop)
    reader = TrainingQueueReader(address, VECTORS, CONFIG, stop)
    assert sampler.sample(1, timeout_s=0.5) is None
    assert reader.get(timeout_s=0.1) is None
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert f"serving on {address}" in output
    assert "stopped (SIGTERM)" in output


def test_no_client_waits_for_ever_for_a_service_that_is_not_there(stop):
    address = free_address()
    assert ReplayInfo(address).read(timeout_s=1) is None
    with pytest.raises(TimeoutError, match="no replay service at 127"):
        wait_until_ready(address, stop, timeout_s=0.5)
    sampler = SliceSampler(address, VECTORS, CONFIG, stop)
    assert sampler.sample(1, timeout_s=0.2) is None
    reader = TrainingQueueReader(address, VECTORS, CONFIG, stop)
    assert reader.get(timeout_s=0.2) is None

    updater = PriorityUpdater(address, stop)
    for _ in range(20):
        updater.update(np.array([1], np.uint64), np.array([1.0]))
    assert updater.dropped_updates >= 11  # 8 queued, one in the thread's hands

    queue_writer = TrainingQueueWriter(address, stop)
    assert queue_writer.put(random_training_batch(VECTORS, CONFIG, seed=0), timeout_s=0.2)
    assert not queue_writer.put(random_training_batch(VECTORS, CONFIG, seed=1), timeout_s=0.2)
    queue_writer.close()

    writer = EpisodeWriter(address, VECTORS, CONFIG, stop, budget_s=0.1)
    rng = np.random.default_rng(0)
    for number, length in enumerate((7, 40)):
        episode = random_episode(
            VECTORS, rng, number=number, length=length, ending=Ending.TERMINATED
        )
        for t in range(length):
            writer.append(episode.step(t))
        writer.end(Shown(episode.frames[-1]), episode.ending)
    writer.close()
    assert writer.lost_items == 47


@pytest.mark.parametrize(
    ("frames_per_block", "refresh_share"), [(16, 0.5), (100, 0.0)], ids=["twice", "long blocks"]
)
def test_more_items_than_reverb_wants_at_once_go_in_portions(
    frames_per_block, refresh_share, tmp_path, stop, capfd
):
    replay = dataclasses.replace(
        CONFIG.replay, frames_per_block=frames_per_block, priority_refresh_share=refresh_share
    )
    config, address = dataclasses.replace(CONFIG, replay=replay), free_address()
    process = start_service(tmp_path, address, config)
    try:
        assert wait_until_ready(address, stop, timeout_s=PATIENCE_S)
        writer, rng = EpisodeWriter(address, VECTORS, config, stop), np.random.default_rng(0)
        # 15 whole blocks of 16 leave 25 steps for the end: 50 items where each step has two.
        episode = random_episode(VECTORS, rng, number=0, length=255, ending=Ending.TERMINATED)
        for t in range(len(episode)):
            writer.append(episode.step(t))
        writer.end(Shown(episode.frames[-1]), episode.ending)
        writer.close()
        assert writer.lost_items == 0
        assert ReplayInfo(address).read().steps_inserted == len(episode)
    finally:
        process.kill()
        process.communicate()
    assert "pending items" not in capfd.readouterr().err


def test_writing_goes_on_after_the_service_came_back(tmp_path, stop):
    address = free_address()
    writer = EpisodeWriter(address, VECTORS, CONFIG, stop, budget_s=0.1)
    rng = np.random.default_rng(0)
    episode = random_episode(VECTORS, rng, number=0, length=20, ending=Ending.TRUNCATED)

    def play():
        for t in range(len(episode)):
            writer.append(episode.step(t))
        writer.end(Shown(episode.frames[-1]), episode.ending)

    play()
    assert writer.lost_items == 20
    process = start_service(tmp_path, address)
    try:
        assert wait_until_ready(address, stop, timeout_s=PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            lost_before = writer.lost_items
            play()
            if writer.lost_items == lost_before:
                break
        sampler = SliceSampler(address, VECTORS, CONFIG, stop)
        batch = draw(sampler, 32)
        for i in range(32):
            t = int(batch.root_values[i, 0])
            assert_slice_equals(batch, i, window(episode, t, VECTORS, CONFIG.agent))
    finally:
        process.kill()
        process.communicate()


def test_replay_imports_without_tensorflow():
    code = (
        "import sys; from replay.driver import reverb_lite; reverb_lite.load(); reverb_lite.load();"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'tensorflow'];"
        "assert 'libtensorflow_framework' in open('/proc/self/maps').read();"
        "assert 'libtensorflow_cc' not in open('/proc/self/maps').read()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_steps_ever_sampled_are_counted_once_each(address, stop):
    rng = np.random.default_rng(11)
    episode = random_episode(IMAGES, rng, number=0, length=20, ending=Ending.TERMINATED)
    write([episode], IMAGES, address, stop)
    assert counts_of(address).unique_steps_sampled == 0
    sampler = SliceSampler(address, IMAGES, CONFIG, stop)
    keys = {int(key) for _ in range(20) for key in draw(sampler, CONFIG.learner.batch_size).keys}
    assert len(keys) == 20
    counts = counts_of(address)
    assert counts.unique_steps_sampled == 20
    assert counts.steps_sampled >= 640


def test_threads_that_load_reverb_at_once_get_the_same_one():
    code = """
import threading
from replay.driver import reverb_lite
clients = []
threads = [
    threading.Thread(target=lambda: clients.append(reverb_lite.load().Client)) for _ in range(8)
]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(clients) == 8 and len(set(clients)) == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_S)

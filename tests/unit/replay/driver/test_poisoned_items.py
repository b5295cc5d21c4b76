"""What a stranger puts into replay is dropped, counted and named, and the good rest is used."""

import json
import logging
import struct
import zlib

import numpy as np
import pytest

from efficientzero.config.fields import AgentConfig, Config, LearnerConfig
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Ending, Shown
from replay import training_queue
from replay.driver import quarantine, reverb_lite
from replay.driver.quarantine import PoisonedReplay, Quarantine
from replay.format.batch_codec import batch_spec, decode_batch, encode_batch
from replay.format.slice_codec import SliceCodec
from replay.steps import slice_sampler
from replay.steps.slice_sampler import SliceSampler
from replay.steps.step_pool import StepPool
from replay.training_queue import TrainingQueueReader
from tests.support.cases.replay_cases import VECTORS, random_episode, random_training_batch
from tests.support.fakes import tiny_config

CONFIG = Config()
NOBODY = "127.0.0.1:1"


def blocks_of(change=None, agent=CONFIG.agent):
    """Return the blocks of a whole episode of 20 steps, one of whose steps was changed."""
    codec = SliceCodec(VECTORS, agent, frames_per_block=CONFIG.replay.frames_per_block)
    episode = random_episode(
        VECTORS, np.random.default_rng(0), number=1, length=20, ending=Ending.TERMINATED
    )
    packer, blocks = codec.make_packer(), []
    for t in range(20):
        step = episode.step(t)
        if t == 2 and change:
            step = step._replace(**change)
        if codec.pack_step(packer, step, position=t):
            blocks.append(packer.finish())
    codec.pack_ending(packer, Shown(episode.frames[-1]), episode.ending, position=20)
    blocks.append(packer.finish())
    ((_, wanted, place),) = codec.windows(range(2, 3), last_row=20)
    return blocks[wanted.start : wanted.stop], place


def drawn(key, *, blocks=None, place=None, probability=0.1, size=10, priority=1.0):
    """Return what Reverb gives: by default a good item."""
    good_blocks, good_place = blocks_of()
    return [
        np.array(key, np.uint64),
        np.array(probability),
        np.array(size),
        np.array(priority),
        np.array(1),
        np.array(good_blocks if blocks is None else blocks, dtype=object),
        np.array([good_place if place is None else place], np.int32),
    ]


class FakeReverb:
    """Stands for Reverb's client and sampler: gives ``items`` in turn, then the last for ever."""

    def __init__(self, items):
        self.items, self.deleted = list(items), []

    def Client(self, address):
        return self

    def mutate_priorities(self, table, updates=None, deletes=None):
        self.deleted += deletes

    def GetNextTrajectory(self):
        item = self.items.pop(0) if len(self.items) > 1 else self.items[0]
        if isinstance(item, Exception):
            raise item
        return item


@pytest.fixture
def stop():
    signal = StopSignal()
    yield signal
    signal.set("the test is over")


def serve(monkeypatch, items):
    fake = FakeReverb(items)
    monkeypatch.setattr(reverb_lite, "load", lambda: fake)
    monkeypatch.setattr(reverb_lite, "new_sampler", lambda *args, **kwargs: fake)
    monkeypatch.setattr(slice_sampler, "_RETRY_S", 0.001)
    monkeypatch.setattr(training_queue, "_RETRY_S", 0.001)
    return fake


def poisoned(name):
    nan = float("nan")
    items = {
        "columns": drawn(1)[:6],
        "blocks of floats": [*drawn(1)[:5], np.zeros(3), drawn(1)[6]],
        "place of bytes": [*drawn(1)[:6], np.array([b"x"], dtype=object)],
        "no blocks": drawn(1, blocks=[]),
        "thousands of blocks": drawn(1, blocks=[b"ab"] * 5_000),
        "two bytes": drawn(1, blocks=[b"ab"]),
        "no bytes": drawn(1, blocks=[3.5, None]),
        "place before": drawn(1, place=-1),
        "place beyond": drawn(1, place=2**30),
        "NaN probability": drawn(1, probability=nan),
        "probability 2": drawn(1, probability=2.0),
        "NaN priority": drawn(1, priority=nan),
        "infinite priority": drawn(1, priority=float("inf")),
        "size 0": drawn(1, size=0),
    }
    changes = {
        "NaN reward": {"reward": nan},
        "endless reward": {"reward": 3e38},
        "NaN value": {"root_value": nan},
        "action beyond": {"action": VECTORS.num_actions},
        "action before": {"action": -1},
        "env_step of another run": {"env_step": 2**39},
        "NaN policy": {"search_policy": np.full(VECTORS.num_actions, nan, np.float32)},
        "policy below 0": {"search_policy": np.full(VECTORS.num_actions, -1, np.float32)},
        "NaN frame": {"frame": np.full(VECTORS.frame_shape, nan, np.float32)},
    }
    if name is None:
        return [*items, *changes]
    if name in items:
        return items[name]
    blocks, place = blocks_of(changes[name])
    return drawn(1, blocks=blocks, place=place)


@pytest.mark.parametrize("name", poisoned(None))
def test_a_poisoned_item_is_dropped_counted_named_and_removed(name, monkeypatch, stop, caplog):
    fake = serve(monkeypatch, [poisoned(name), drawn(2)])
    sampler = SliceSampler(NOBODY, VECTORS, CONFIG, stop, num_slices_ahead=2)
    with caplog.at_level(logging.WARNING):
        batch = sampler.sample(4, timeout_s=20.0)
    assert batch.keys.tolist() == [2] * 4
    assert all(np.isfinite(field).all() for field in batch)
    assert sampler.dropped_items == 1
    assert [record.message for record in caplog.records if "item 1 of" in record.message]
    for _ in range(200):
        if fake.deleted:
            break
        stop.wait(0.02)
    assert fake.deleted == [1]


def test_an_item_that_reverb_cannot_read_is_counted(monkeypatch, stop):
    serve(monkeypatch, [ValueError("slice out of range"), drawn(2)])
    sampler = SliceSampler(NOBODY, VECTORS, CONFIG, stop, num_slices_ahead=2)
    assert sampler.sample(2, timeout_s=20.0) is not None
    assert sampler.dropped_items == 1


def test_nothing_but_poison_ends_with_a_reason(monkeypatch, stop):
    monkeypatch.setattr(quarantine, "_ENDS_AFTER_S", 0.1)
    serve(monkeypatch, [ValueError("slice out of range")])
    sampler = SliceSampler(NOBODY, VECTORS, CONFIG, stop, num_slices_ahead=2)
    with pytest.raises(PoisonedReplay, match=r"were all dropped.*slice out of range"):
        for _ in range(50):
            assert sampler.sample(2, timeout_s=0.2) is None
    assert PoisonedReplay.is_permanent


def test_nothing_but_poison_does_not_outlast_the_timeout(monkeypatch, stop):
    monkeypatch.setattr(quarantine, "_ENDS_AFTER_S", 1.0)
    bad = slice_sampler.Sample(1, 0.1, 10, 1.0, blocks=[b"ab"], place=0)
    monkeypatch.setattr(slice_sampler.SampleStream, "get", lambda self, timeout_s: bad)
    sampler = SliceSampler(NOBODY, VECTORS, CONFIG, stop, num_slices_ahead=2)
    assert sampler.sample(2, timeout_s=0.1) is None


def test_a_table_that_draws_one_item_only_is_found(monkeypatch, stop):
    monkeypatch.setattr(quarantine, "_ENDS_AFTER_S", 0.1)
    serve(monkeypatch, [drawn(7, probability=0.06)])
    sampler = SliceSampler(NOBODY, VECTORS, CONFIG, stop, num_slices_ahead=2)
    with pytest.raises(PoisonedReplay, match="the table's priorities are damaged"):
        for _ in range(1_000):
            sampler.sample(2, timeout_s=0.2)


def test_log_lines_are_limited_by_cause(caplog, stop):
    dropped = Quarantine("item", NOBODY, "table", stop)
    with caplog.at_level(logging.WARNING):
        for number in range(500):
            dropped.drop(f"place: got {number}, wanted 3")
        dropped.drop("reward: got nan")
    assert dropped.dropped == 501
    assert len(caplog.records) == 2


def forged(header, payload=b""):
    """Return a batch with a right checksum, as a stranger can make it."""
    head = json.dumps(header).encode()
    body = struct.pack("<I", len(head)) + head + payload
    return struct.pack("<I", zlib.crc32(body)) + body


FORGED = [
    b"ab",
    b"",
    forged(7),
    forged([1, 2]),
    forged([["frames"]]),
    forged([[["frames"], "uint8", [1], False, 1]]),
    forged([["frames", "uint8", [2**40], True, 1]]),
    forged([["frames", "uint8", None, True, "x"]]),
    forged([]),
    struct.pack("<I", zlib.crc32(b"\xff\xff\xff\x7f")) + b"\xff\xff\xff\x7f",
]


@pytest.mark.parametrize("encoded", FORGED, ids=range(len(FORGED)))
def test_forged_batches_are_refused_as_values(encoded):
    with pytest.raises(ValueError, match="training batch"):
        decode_batch(encoded, batch_spec(VECTORS, tiny_config()))


def test_what_is_no_batch_is_dropped_by_the_queues_reader(monkeypatch, stop):
    config = Config(learner=LearnerConfig(batch_size=4))
    good = encode_batch(random_training_batch(VECTORS, config, seed=0))

    def item(*columns):
        return [*(np.array(0) for _ in range(5)), *columns]

    cells = [item(np.array([encoded], dtype=object)) for encoded in FORGED]
    others = [item(), item(np.zeros(3)), item(np.array([3], dtype=object)), ValueError("slice")]
    serve(monkeypatch, [*cells, *others, item(np.array([good], dtype=object))])
    reader = TrainingQueueReader(NOBODY, VECTORS, config, stop)
    assert reader.get(timeout_s=20.0) is not None
    assert reader.dropped_batches == len(cells) + len(others)


def test_a_discarded_step_is_never_drawn_again():
    pool = StepPool(4, 0.0, np.random.default_rng(0))
    for name in "ab":
        pool.add(name, 1.0)
    assert pool.discard(0)
    assert not pool.discard(0)
    pool.update([0], [5.0])
    assert {draw.item for draw in pool.draw(50)} == {"b"}
    assert pool.has_any()
    pool.discard(1)
    assert not pool.has_any()


def test_agents_windows_fit_the_bound_of_blocks():
    for unroll in (1, 5, 9):
        agent = AgentConfig(num_unroll_steps=unroll)
        blocks, _ = blocks_of(agent=agent)
        codec = SliceCodec(VECTORS, agent, frames_per_block=CONFIG.replay.frames_per_block)
        assert len(blocks) <= codec.max_blocks

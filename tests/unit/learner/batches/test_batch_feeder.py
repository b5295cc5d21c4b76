"""Batches are ready ahead, in order, one at a time; errors come when it is their turn."""

import threading

import numpy as np
import pytest

from efficientzero.envs import probe_env_spec
from efficientzero.process.runtime import StopSignal
from learner.batches.checks import BatchChecks
from learner.batches.feeder import BatchFeeder
from tests.support.fakes import FakeBatchSource, tiny_config
from tests.support.training_batches import training_batch
from tests.unit.learner.batches.test_batch_loader import loader_of

PATIENCE_S = 60.0
CONFIG = tiny_config()


class CountedSource(FakeBatchSource):
    """Tells how many batches were asked for, and lets a test wait for that."""

    def __init__(self, batches, stop):
        super().__init__(batches, stop)
        self.handed_out = 0
        self.changed = threading.Condition()

    def get(self, *, timeout_s):
        batch = super().get(timeout_s=timeout_s)
        with self.changed:
            self.handed_out += batch is not None
            self.changed.notify_all()
        return batch

    def wait_for(self, number):
        with self.changed:
            assert self.changed.wait_for(lambda: self.handed_out >= number, PATIENCE_S)


@pytest.fixture
def stop():
    signal = StopSignal()
    yield signal
    signal.set("the test is over")


def feeder_of(source, stop):
    checks = BatchChecks(CONFIG, probe_env_spec(CONFIG.env), largest_target=float("inf"))
    feeder = BatchFeeder(source, checks, loader_of(CONFIG), stop)
    feeder.start()
    return feeder


def test_one_batch_is_taken_ahead_and_no_more(stop):
    batches = [training_batch(CONFIG, seed) for seed in range(4)]
    source = CountedSource(batches, stop)
    feeder = feeder_of(source, stop)
    source.wait_for(1)
    for taken in range(1, 4):
        ready = feeder.get(timeout_s=PATIENCE_S)
        assert ready.batch is batches[taken - 1]
        np.testing.assert_array_equal(ready.sent.fields["frames"], ready.batch.frames)
        source.wait_for(taken + 1)
        assert source.handed_out == taken + 1


def test_row_has_the_number_of_batches_that_were_ready_when_wanted(stop):
    source = CountedSource([training_batch(CONFIG, seed) for seed in range(2)], stop)
    feeder = feeder_of(source, stop)
    while feeder._ready.empty():
        stop.wait(0.001)
    assert feeder.get(timeout_s=PATIENCE_S) is not None
    row = feeder.row()
    assert row["learner/batch_ready_share"] == 1.0
    assert row["learner/batch_assembly_ms"] > 0
    late = threading.Event()
    feeder_late = feeder_of(WaitingSource([training_batch(CONFIG)], stop, late), stop)
    take = feeder_late._ready.get

    def take_late(**options):
        late.set()  # the batch comes only while it is waited for
        return take(**options)

    feeder_late._ready.get = take_late
    assert feeder_late.get(timeout_s=PATIENCE_S) is not None
    assert feeder_late.row()["learner/batch_ready_share"] == 0.0


class WaitingSource(FakeBatchSource):
    def __init__(self, batches, stop, begin):
        super().__init__(batches, stop)
        self._begin = begin

    def get(self, *, timeout_s):
        assert self._begin.wait(PATIENCE_S)
        return super().get(timeout_s=timeout_s)


def test_a_bad_batch_is_dropped_and_counted_and_the_next_one_comes(stop):
    good, bad, last = (training_batch(CONFIG, seed) for seed in range(3))
    bad.values[0, 0] = np.nan
    source = CountedSource([good, bad, last], stop)
    feeder = feeder_of(source, stop)
    assert feeder.get(timeout_s=PATIENCE_S).batch is good
    assert feeder.get(timeout_s=PATIENCE_S).batch is last
    assert feeder.row()["learner/dropped_batches"] == 1.0
    assert "values" in source.dropped[0]


def test_failure_of_the_queue_reaches_the_learner(stop):
    class Broken:
        def get(self, *, timeout_s):
            raise ValueError("training batch: got nothing that fits")

    with pytest.raises(ValueError, match="got nothing that fits"):
        feeder_of(Broken(), stop).get(timeout_s=PATIENCE_S)


def test_wait_ends_at_its_timeout_and_at_a_stop(stop):
    feeder = feeder_of(CountedSource([], stop), stop)
    assert feeder.get(timeout_s=0.01) is None
    threading.Timer(0.05, stop.set, ("test",)).start()
    assert feeder.get(timeout_s=PATIENCE_S) is None


def test_closed_feeder_takes_nothing_more(stop):
    source = CountedSource([training_batch(CONFIG, seed) for seed in range(3)], stop)
    feeder = feeder_of(source, stop)
    source.wait_for(1)
    feeder.close()
    assert feeder.get(timeout_s=PATIENCE_S) is not None
    for thread in threading.enumerate():
        if thread.name == "batch-feeder":
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
    feeder.get(timeout_s=0.0)  # at most the one that it was about to take
    assert feeder.get(timeout_s=0.0) is None
    assert source.handed_out <= 2

"""The metric rows of a real service that continues from a snapshot."""

import pytest

from efficientzero.process.runtime import StopSignal
from replay.service.metrics import ServiceMetrics
from replay.snapshots.request import request_snapshot
from tests.integration.replay.test_priorities import CONFIG, end, numbered_episodes, serving, write
from tests.integration.replay.test_replay_service import PATIENCE_S
from tests.support.cases.replay_cases import IMAGES
from tests.support.fakes import MemoryTracker

pytestmark = pytest.mark.reverb


@pytest.fixture
def stop():
    signal_ = StopSignal()
    yield signal_
    signal_.set("end of test")


def test_restored_steps_are_in_no_rate(tmp_path, stop):
    process, address = serving(tmp_path, stop, CONFIG)
    episodes, tracker = numbered_episodes(IMAGES), MemoryTracker()
    try:
        write(episodes, IMAGES, CONFIG, address, stop)
        request_snapshot(address, timeout_s=PATIENCE_S)
    finally:
        end(process)
    process, address = serving(tmp_path, stop, CONFIG)
    try:
        metrics = ServiceMetrics(address, tracker, interval_s=0.0, queue_size=4)
        metrics.log_when_due()
        metrics.log_when_due()
        (row,) = tracker.rows  # the first call begins the interval
        assert row["replay/steps_inserted"] == 120
        assert row["replay/steps_inserted_per_s"] == row["replay/time/steps_share"] == 0
        write(episodes[:1], IMAGES, CONFIG, address, stop)
        metrics.log_when_due()
        assert tracker.rows[-1]["replay/steps_inserted"] == 160
        assert tracker.rows[-1]["replay/steps_inserted_per_s"] > 0
    finally:
        end(process)

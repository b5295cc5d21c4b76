"""What the replay service reports about itself, at intervals.

Used by ``replay.__main__``. Reads the service's own counters, as any client would.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from efficientzero.metrics.tracker import Tracker
from replay.info import ReplayCounts, ReplayInfo


class ServiceMetrics:
    """Logs size, rates and memory of the service in this process."""

    def __init__(self, address: str, tracker: Tracker, *, interval_s: float) -> None:
        """Report to ``tracker`` every ``interval_s`` seconds, counted from now."""
        self._address, self._tracker, self._interval_s = address, tracker, interval_s
        self._info: ReplayInfo | None = None
        self._before: ReplayCounts | None = None
        self._logged_at = time.monotonic()

    def log_when_due(self) -> None:
        """Log a row if the interval has passed and the service answers."""
        now = time.monotonic()
        elapsed = now - self._logged_at
        if elapsed < self._interval_s:
            return
        self._info = self._info or ReplayInfo(self._address)  # only once the service is up
        counts = self._info.read()
        if counts is None:
            return
        before = self._before or ReplayCounts(
            num_steps=0,
            steps_inserted=0,
            steps_sampled=0,
            unique_steps_sampled=0,
            num_queued_batches=0,
            batches_inserted=0,
        )
        self._tracker.log(
            {
                "replay/steps_inserted": counts.steps_inserted,
                "replay/steps": counts.num_steps,
                "replay/steps_inserted_per_s": (counts.steps_inserted - before.steps_inserted)
                / elapsed,
                "replay/steps_sampled_per_s": (counts.steps_sampled - before.steps_sampled)
                / elapsed,
                "replay/samples_per_insert": counts.steps_sampled / max(1, counts.steps_inserted),
                "replay/queued_batches": counts.num_queued_batches,
                "replay/batches_per_s": (counts.batches_inserted - before.batches_inserted)
                / elapsed,
                "replay/resident_bytes": resident_bytes(),
            }
        )
        self._before, self._logged_at = counts, now


def resident_bytes() -> int:
    """Return this process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

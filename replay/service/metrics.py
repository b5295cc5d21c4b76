"""The replay service's metric rows, logged at intervals.

Used by ``replay.__main__``. Reads the service's own counters, as any client would.
"""

from __future__ import annotations

import time

from efficientzero.metrics import Interval, ProcessUsage, Tracker
from efficientzero.process.liveness import beat
from replay.info import ReplayCounts, ReplayInfo


class ServiceMetrics:
    """Logs size, rates and memory of the service in this process."""

    def __init__(
        self, address: str, tracker: Tracker, *, interval_s: float, queue_size: int
    ) -> None:
        """Report to ``tracker`` every ``interval_s`` seconds, counted from the first answer."""
        self._address, self._tracker = address, tracker
        self._queue_size = queue_size
        self._usage = ProcessUsage("replay")
        self._info: ReplayInfo | None = None
        self._before: ReplayCounts | None = None
        self._interval = Interval(interval_s)

    def log_when_due(self) -> None:
        """Log a row if the interval has passed and the service answers."""
        if self._before is not None and not self._interval.is_over():
            return
        asked = time.monotonic()
        self._info = self._info or ReplayInfo(self._address)  # only once the service is up
        counts = self._info.read()
        if counts is None:
            return
        beat("serving")
        answer_s = time.monotonic() - asked
        before, self._before = self._before, counts
        elapsed_s, per_s = self._interval.restart(
            inserted=counts.steps_inserted,
            sampled=counts.steps_sampled,
            batches=counts.batches_inserted,
        )
        if before is None:  # what a snapshot restored was not inserted in an interval
            return
        row = {
            "replay/steps_inserted": counts.steps_inserted,
            "replay/steps": counts.num_steps,
            "replay/episodes": counts.num_episodes,
            "replay/steps_inserted_per_s": per_s["inserted"],
            "replay/steps_sampled_per_s": per_s["sampled"],
            "replay/samples_per_insert": counts.steps_sampled / max(1, counts.steps_inserted),
            "replay/queued_batches": counts.num_queued_batches,
            "replay/queue_fill_share": counts.num_queued_batches / self._queue_size,
            "replay/batches_per_s": per_s["batches"],
            "replay/answer_ms": 1_000.0 * answer_s,
            **time_row(before, counts, elapsed_s=elapsed_s),
            **self._usage.row(),
        }
        self._tracker.log(row)


def time_row(before: ReplayCounts, after: ReplayCounts, *, elapsed_s: float) -> dict[str, float]:
    """Return how the worker threads' time was spent between two readings.

    ``steps`` and ``batches``: work on a table, milliseconds per step or batch inserted or sampled.
    ``wait_clients``: no request that could be answered. Shares are of the threads' time together;
    ``other`` is the rest, because the service counts whole milliseconds.
    """
    all_ms = 1_000.0 * elapsed_s * after.num_tables  # each has a worker thread
    work = {
        "steps": (
            after.steps_working_ms - before.steps_working_ms,
            after.steps_inserted + after.steps_sampled,
            before.steps_inserted + before.steps_sampled,
        ),
        "batches": (
            after.batches_working_ms - before.batches_working_ms,
            after.batches_inserted + after.batches_taken,
            before.batches_inserted + before.batches_taken,
        ),
    }
    wait_share = min(1.0, (after.waiting_ms - before.waiting_ms) / all_ms)
    row = {"replay/time/wait_clients_share": wait_share, "replay/time/wait_share": wait_share}
    total_share = wait_share
    for name, (working_ms, done, done_before) in work.items():
        row[f"replay/time/{name}_share"] = working_ms / all_ms
        row[f"replay/time/{name}_ms"] = working_ms / max(1, done - done_before)
        total_share += working_ms / all_ms
    row["replay/time/other_share"] = max(0.0, 1.0 - total_share)
    return row

"""Priorities of replayed steps: their range, their start, and the learner's updates of them.

Used by ``episode_writer`` (start) and by the learner (updates). Both clip: one negative priority at
insertion stops Reverb's table for good, and after one infinite update it samples a single item
forever.
"""

from __future__ import annotations

import logging
import queue

import numpy as np

from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import F64, U64
from replay.driver import reverb_lite
from replay.tables import TRAJECTORIES

MIN_PRIORITY = 1e-6
MAX_PRIORITY = 1e6

_QUEUED_UPDATES = 8

log = logging.getLogger(__name__)


def clip_priorities(priorities: F64) -> F64:
    """Return ``priorities`` clipped to Reverb's valid range; NaN becomes the lowest."""
    finite = np.nan_to_num(priorities, nan=MIN_PRIORITY, posinf=MAX_PRIORITY, neginf=MIN_PRIORITY)
    return np.clip(finite, MIN_PRIORITY, MAX_PRIORITY)


def clip_priority(priority: float) -> float:
    """Return one priority clipped to Reverb's valid range; NaN becomes the lowest."""
    if MIN_PRIORITY <= priority <= MAX_PRIORITY:  # nearly always: once for every env_step
        return priority
    return MAX_PRIORITY if priority > MAX_PRIORITY else MIN_PRIORITY  # NaN among the latter


class PriorityUpdater:
    """Sends priorities from a separate thread, because Reverb's call has no time limit.

    Priorities are best effort: updates are dropped and counted while replay does not answer, and
    keys of evicted items are ignored by the service.
    """

    def __init__(self, address: str, stop: StopSignal, *, table: str = TRAJECTORIES) -> None:
        """Start the thread; returns at once, whether or not replay is up."""
        self.dropped_updates = 0
        self._address, self._table = address, table
        self._stop = stop
        self._updates: queue.Queue[dict[int, float]] = queue.Queue(_QUEUED_UPDATES)
        guarded_thread(self._run, stop, name="priority-updater")

    def update(self, keys: U64, priorities: F64) -> None:
        """Queue new priorities [B] of the items ``keys`` [B]; never blocks."""
        if keys.shape != priorities.shape or keys.ndim != 1:
            raise ValueError(f"priorities: got {priorities.shape}, keys {keys.shape}, wanted [B]")
        clipped = clip_priorities(np.asarray(priorities, np.float64))
        try:
            self._updates.put_nowait(dict(zip(keys.tolist(), clipped.tolist(), strict=True)))
        except queue.Full:
            self.dropped_updates += 1

    def _run(self) -> None:
        client = reverb_lite.load().Client(self._address)
        while (update := self._stop.get(self._updates)) is not None:
            try:
                client.mutate_priorities(self._table, update)
            except (RuntimeError, ValueError) as error:
                self.dropped_updates += 1
                log.warning("priorities of %d items lost: %s", len(update), error)

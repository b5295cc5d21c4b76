"""Sends the next training batch to the device before the learner asks for it.

Started by the learner's loop. A thread takes batches from the queue, checks them and sends them to
the device, one ahead, during the previous step; the queue's thread decodes the one after. More
batches would only grow stale.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import NamedTuple, Protocol

from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import StopSignal
from learner.batches.checks import BadBatch, BatchChecks
from learner.batches.loader import BatchLoader, SentBatch
from replay.format import TrainingBatch

_POLL_S = 0.2


class BatchSource(Protocol):
    """The source of training batches."""

    def get(self, *, timeout_s: float) -> TrainingBatch | None:
        """Return the next batch, or None if none arrived in time."""

    @property
    def dropped_batches(self) -> int:
        """Number of batches received that could not be used."""

    def drop(self, why: str) -> None:
        """Count a batch that ``get`` returned as one that could not be used."""

    def passed(self) -> None:
        """Record that a batch that ``get`` returned was good."""


class ReadyBatch(NamedTuple):
    """A checked training batch, on the device or in transfer to it."""

    batch: TrainingBatch  # on the host
    sent: SentBatch
    overflow_share: float  # of its targets, see ``BatchChecks``
    assembly_s: float  # checks and transfer, in the thread


class BatchFeeder:
    """Prepares one batch ahead; call ``get`` from one thread."""

    def __init__(
        self, source: BatchSource, checks: BatchChecks, loader: BatchLoader, stop: StopSignal
    ) -> None:
        """Store the parts; reads nothing from the queue before ``start``."""
        self._source, self._checks, self._loader, self._stop = source, checks, loader, stop
        self._ready: queue.Queue[ReadyBatch | Exception] = queue.Queue()
        self._room = threading.Semaphore(1)
        self._closed = threading.Event()
        self._taken = self._were_ready = 0
        self._assembly_s = 0.0

    def start(self) -> None:
        """Start reading batches."""
        guarded_thread(self._run, self._stop, name="batch-feeder")

    def close(self) -> None:
        """Stop reading batches."""
        self._closed.set()

    def get(self, *, timeout_s: float) -> ReadyBatch | None:
        """Return the next batch, or None at the timeout or when a stop is requested.

        Raises:
            PoisonedReplay: all batches have been unusable for a long time.
            Exception: any other error of the thread, which has ended.
        """
        was_ready = not self._ready.empty()
        item = self._stop.get(self._ready, timeout_s)
        if item is None:
            return None
        self._room.release()
        if isinstance(item, Exception):
            raise item
        self._taken += 1
        self._were_ready += was_ready
        self._assembly_s += item.assembly_s
        return item

    def row(self) -> dict[str, float]:
        """Return the metrics of the batches taken since the last call, at least one."""
        row = {
            "learner/batch_ready_share": self._were_ready / self._taken,
            "learner/batch_assembly_ms": 1_000.0 * self._assembly_s / self._taken,
            "learner/dropped_batches": float(self._source.dropped_batches),
        }
        self._taken = self._were_ready = 0
        self._assembly_s = 0.0
        return row

    def _run(self) -> None:
        while not (self._stop.is_set() or self._closed.is_set()):
            if not self._room.acquire(timeout=_POLL_S):
                continue
            try:
                ready = self._next()
            except Exception as error:
                # Pass every error on to the learner: nothing else would see it.
                self._ready.put(error)
                return
            if ready is None:
                self._room.release()
            else:
                self._ready.put(ready)

    def _next(self) -> ReadyBatch | None:
        batch = self._source.get(timeout_s=_POLL_S)
        if batch is None:
            return None
        started = time.perf_counter()
        try:
            overflow = self._checks.check(batch)
        except BadBatch as error:
            self._source.drop(str(error))
            return None
        self._source.passed()
        sent = self._loader.send(batch)
        return ReadyBatch(batch, sent, overflow, time.perf_counter() - started)

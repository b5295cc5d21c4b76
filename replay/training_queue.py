"""Carries training batches from the reanalyzers to the learner through a short queue.

One item is one whole batch in one cell of bytes. The queue gives an item to one reader, at most
once. A batch may be lost with a process; no process waits for a particular batch.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any

import numpy as np

from efficientzero.config import Config
from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import EnvSpec
from replay.driver import Quarantine, reverb_lite
from replay.format import NewArray, TrainingBatch, batch_spec, decode_batch, encode_batch
from replay.tables import TRAINING_QUEUE

_POLL_S = 0.2
_RETRY_S = 0.5
_COLUMN = "batch"
_SAMPLE_COLUMN = 5  # after key, probability, table_size, priority, times_sampled

log = logging.getLogger(__name__)


class TrainingQueueWriter:
    """The reanalyzer's end."""

    def __init__(self, address: str, stop: StopSignal) -> None:
        """Open the stream; returns at once, whether or not replay is up."""
        self.lost_batches = 0
        self._reverb = reverb_lite.load()
        self._client = self._reverb.Client(address)
        self._stop = stop
        self._has_unconfirmed = False
        self._writer = self._open()

    def put(self, batch: TrainingBatch, *, timeout_s: float) -> bool:
        """Send ``batch`` once the queue has room for the previous batch.

        Returns:
            True if ``batch`` was sent. False at the timeout or when a stop is asked for: ``batch``
            was not sent, and may be put again.
        """
        if not self._wait_for_confirmation(timeout_s):
            return False
        cell = np.array(encode_batch(batch), dtype=object)
        try:
            self._writer.append({_COLUMN: cell})
            column = self._writer.history[_COLUMN][-1:]
            self._writer.create_item(TRAINING_QUEUE, 1.0, {_COLUMN: column})
        except RuntimeError as error:
            self._reopen(error)
            return False
        self._has_unconfirmed = True
        return True

    def close(self) -> None:
        """Close the stream; a batch without room in the queue is lost."""
        self._writer.close()

    def _open(self) -> reverb_lite.TrajectoryWriter:
        writer = self._client.trajectory_writer(1, validate_items=False)
        writer.configure((_COLUMN,), num_keep_alive_refs=1, max_chunk_length=1)
        return writer

    def _wait_for_confirmation(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self._has_unconfirmed:
            left_s = deadline - time.monotonic()
            if self._stop.is_set() or left_s <= 0:
                return False
            # Reverb takes 0 ms for no limit.
            poll_ms = max(1, int(1000 * min(left_s, _POLL_S)))
            try:
                self._writer.end_episode(timeout_ms=poll_ms)
                self._has_unconfirmed = False
            except self._reverb.DeadlineExceededError:
                continue
            except RuntimeError as error:
                self._reopen(error)
        return not self._stop.is_set()

    def _reopen(self, error: RuntimeError) -> None:
        log.warning("training queue: stream opened again after: %s", error)
        self.lost_batches += self._has_unconfirmed
        self._has_unconfirmed = False
        self._writer.close()
        self._writer = self._open()


class TrainingQueueReader:
    """The learner's end; holds one decoded batch and at most one more in transit."""

    def __init__(
        self,
        address: str,
        env_spec: EnvSpec,
        config: Config,
        stop: StopSignal,
        *,
        new_array: NewArray = np.empty,
    ) -> None:
        """Start reading; returns at once, whether or not replay is up. See ``decode_batch``."""
        self._new_array = new_array
        self._address = address
        self._wanted = batch_spec(env_spec, config)
        self._stop = stop
        self._quarantine = Quarantine("batch", address, TRAINING_QUEUE, stop)
        self._ready: queue.Queue[TrainingBatch | Exception] = queue.Queue(1)
        self._room = threading.Semaphore(1)
        guarded_thread(self._run, stop, name="training-queue")

    def get(self, *, timeout_s: float) -> TrainingBatch | None:
        """Return the next batch, or None at the timeout or when a stop is asked for.

        Batches that are damaged or do not fit the run's configuration are dropped.

        Raises:
            PoisonedReplay: all batches of a long time were unusable.
            Exception: any other error of decoding.
        """
        self._quarantine.check()
        item = self._stop.get(self._ready, timeout_s)
        if item is None:
            return None
        self._room.release()
        if isinstance(item, Exception):
            raise item
        return item

    @property
    def dropped_batches(self) -> int:
        """Number of batches received that could not be used."""
        return self._quarantine.dropped

    def drop(self, why: str) -> None:
        """Count a batch that ``get`` returned as one that could not be used."""
        self._quarantine.drop(why)

    def passed(self) -> None:
        """Note that a batch that ``get`` returned was good."""
        self._quarantine.passed()

    def _run(self) -> None:
        client = reverb_lite.load().Client(self._address)
        sampler = None
        while not self._stop.is_set():
            # One batch at a time: batches held here grow stale and are lost with the process.
            if not self._room.acquire(timeout=_POLL_S):
                continue
            try:
                if sampler is None:
                    sampler = reverb_lite.new_sampler(client, TRAINING_QUEUE, max_in_flight=1)
                sample = sampler.GetNextTrajectory()
            except ValueError as error:  # an item that Reverb itself cannot put together
                sampler = None
                self._room.release()
                self._quarantine.drop(f"Reverb: {error}")
                self._stop.wait(_RETRY_S)
                continue
            except RuntimeError as error:
                log.warning("reading the training queue again after: %s", error)
                sampler = None
                self._room.release()
                self._stop.wait(_RETRY_S)
                continue
            try:
                decoded: TrainingBatch | Exception = self._decode(sample)
            except ValueError as error:  # not a batch of this run
                self._room.release()
                self._quarantine.drop(str(error))
                continue
            except Exception as error:  # ours: ``get`` raises it in its caller's thread
                decoded = error
            self._ready.put(decoded)

    def _decode(self, sample: list[Any]) -> TrainingBatch:
        """Return the batch; raise ValueError if there is none in ``sample``."""
        cells = sample[_SAMPLE_COLUMN] if len(sample) == _SAMPLE_COLUMN + 1 else np.empty(0)
        cell = cells.reshape(-1)[0] if cells.size == 1 else None
        if not isinstance(cell, bytes):
            raise ValueError(
                f"training batch: got {len(sample)} columns, the last {cells.dtype} "
                f"{cells.shape}, wanted one cell of bytes"
            )
        return decode_batch(cell, self._wanted, self._new_array)

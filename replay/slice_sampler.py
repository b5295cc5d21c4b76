"""Draws slices from ``trajectories`` in the background and decodes them into stacked arrays.

A reanalyzer holds one. Knows Reverb's sampler, not what the slices are for.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any

from efficientzero.config import Config
from efficientzero.runtime import StopSignal
from efficientzero.schema import EnvSpec
from efficientzero.slices import SliceBatch
from replay import reverb_lite
from replay.slice_codec import SliceCodec
from replay.tables import TRAJECTORIES

_MAX_IN_FLIGHT = 16  # 1 to 4 is most of the gain, beyond 16 there is none
_TURN_S = 0.2
_RETRY_S = 0.5
# A sample is [key, probability, table_size, priority, times_sampled, blocks, rows].
_KEY, _PROBABILITY, _TABLE_SIZE, _PRIORITY, _, _BLOCKS, _ROWS = range(7)

log = logging.getLogger(__name__)


class SliceSampler:
    """Samples ahead by about one batch, still compressed: more would sample by stale priorities."""

    def __init__(
        self,
        address: str,
        env_spec: EnvSpec,
        config: Config,
        stop: StopSignal,
        *,
        num_slices_ahead: int | None = None,
        num_buffers: int = 2,
    ) -> None:
        """Start sampling; returns at once, whether or not replay is up.

        Args:
            address: Of the replay service.
            env_spec: Of the run's environment.
            config: Of the run.
            stop: Ends the waits and the thread.
            num_slices_ahead: Slices to hold ready; one training batch by default.
            num_buffers: Batches whose memory is used in turn.
        """
        self._address = address
        self._stop = stop
        frames_per_block = config.replay.frames_per_block
        self._codec = SliceCodec(env_spec, config.agent, frames_per_block=frames_per_block)
        ahead = config.learner.batch_size if num_slices_ahead is None else num_slices_ahead
        self._samples: queue.Queue[list[Any]] = queue.Queue(max(1, ahead - _MAX_IN_FLIGHT))
        self._taken: list[list[Any]] = []
        self._buffers: list[SliceBatch | None] = [None] * num_buffers
        self._num_batches = 0
        threading.Thread(target=self._run, name="slice-sampler", daemon=True).start()

    def sample(self, num: int, *, timeout_s: float) -> SliceBatch | None:
        """Return ``num`` slices, or None at the timeout or when a stop is asked for.

        The arrays are used again: they stay as they are until the ``num_buffers``-th call from
        now (fresh memory for 256 RGB slices would cost more than the decoding). Slices that came
        in before a timeout are kept for the next call.
        """
        deadline = time.monotonic() + timeout_s
        while len(self._taken) < num:
            left_s = deadline - time.monotonic()
            if self._stop.is_set() or left_s <= 0:
                return None
            try:
                self._taken.append(self._samples.get(timeout=min(left_s, _TURN_S)))
            except queue.Empty:
                continue
        samples, self._taken = self._taken[:num], self._taken[num:]
        return self._decode(samples)

    def _decode(self, samples: list[list[Any]]) -> SliceBatch:
        batch = self._next_buffer(len(samples))
        for i, sample in enumerate(samples):
            blocks, rows = sample[_BLOCKS].tolist(), sample[_ROWS]
            self._codec.decode_into(batch, i, blocks=blocks, rows=rows)
            batch.keys[i] = sample[_KEY].item()
            batch.probabilities[i] = sample[_PROBABILITY].item()
            batch.table_sizes[i] = sample[_TABLE_SIZE].item()
            batch.priorities[i] = sample[_PRIORITY].item()
        return batch

    def _next_buffer(self, num: int) -> SliceBatch:
        place = self._num_batches % len(self._buffers)
        self._num_batches += 1
        buffer = self._buffers[place]
        if buffer is None or len(buffer.keys) != num:
            buffer = self._codec.allocate(num)
            self._buffers[place] = buffer
        return buffer

    def _run(self) -> None:
        """Move samples from Reverb's stream, which knows no timeout, into the queue."""
        client = reverb_lite.load().Client(self._address)
        sampler = None
        while not self._stop.is_set():
            try:
                if sampler is None:
                    sampler = reverb_lite.new_sampler(
                        client, TRAJECTORIES, max_in_flight=_MAX_IN_FLIGHT
                    )
                sample = sampler.GetNextTrajectory()
            except (RuntimeError, ValueError) as error:
                log.warning("sampling again after: %s", error)
                sampler = None
                self._stop.wait(_RETRY_S)
                continue
            while not self._stop.is_set():
                try:
                    self._samples.put(sample, timeout=_TURN_S)
                    break
                except queue.Full:
                    continue

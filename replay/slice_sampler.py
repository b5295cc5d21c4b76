"""Draws slices from a table of steps in the background and decodes them into stacked arrays.

A reanalyzer holds one. Knows Reverb's sampler, not what the slices are for.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from efficientzero.config import Config
from efficientzero.guarded_thread import guarded_thread
from efficientzero.runtime import StopSignal
from efficientzero.schema import EnvSpec
from efficientzero.slices import SliceBatch
from replay import reverb_lite
from replay.slice_codec import SliceCodec
from replay.tables import TRAJECTORIES

MAX_IN_FLIGHT = 64  # the service spends a quarter less on a sample than with 16
_TURN_S = 0.2
_RETRY_S = 0.5
# Reverb's order: [key, probability, table_size, priority, times_sampled, blocks, [place]].
_KEY, _PROBABILITY, _TABLE_SIZE, _PRIORITY, _, _BLOCKS, _PLACE = range(7)

log = logging.getLogger(__name__)


class Sample(NamedTuple):
    """One item, still compressed."""

    key: int
    probability: float
    table_size: int
    priority: float
    blocks: list[bytes]
    place: int
    shard: int = 0


class SliceSampler:
    """Samples ahead by about one batch, still compressed: more would sample by stale priorities."""

    def __init__(
        self,
        address: str,
        env_spec: EnvSpec,
        config: Config,
        stop: StopSignal,
        *,
        table: str = TRAJECTORIES,
        num_slices_ahead: int | None = None,
        num_buffers: int = 2,
    ) -> None:
        """Start sampling; returns at once, whether or not replay is up.

        Args:
            address: Of the replay service.
            env_spec: Of the run's environment.
            config: Of the run.
            stop: Ends the waits and the thread.
            table: Where to draw from.
            num_slices_ahead: Slices to hold ready; one training batch by default.
            num_buffers: Batches whose memory is used in turn.
        """
        self._stop = stop
        ahead = config.learner.batch_size if num_slices_ahead is None else num_slices_ahead
        in_flight = max(1, min(MAX_IN_FLIGHT, ahead))
        self._stream = SampleStream(
            address,
            stop,
            table=table,
            max_in_flight=in_flight,
            num_ahead=max(1, ahead - in_flight),
        )
        self._decoder = SliceDecoder(env_spec, config, num_buffers=num_buffers)
        self._taken: list[Sample] = []

    def sample(self, num: int, *, timeout_s: float) -> SliceBatch | None:
        """Return ``num`` slices, or None at the timeout or when a stop is asked for.

        The arrays are used again: they stay as they are until the ``num_buffers``-th call from
        now (fresh memory for 256 RGB slices would cost more than the decoding). Slices that came
        in before a timeout are kept for the next call.
        """
        deadline = time.monotonic() + timeout_s
        while len(self._taken) < num:
            sample = self._stream.get(timeout_s=deadline - time.monotonic())
            if sample is None:
                return None
            self._taken.append(sample)
        samples, self._taken = self._taken[:num], self._taken[num:]
        return self._decoder.decode(samples)


class SliceDecoder:
    """Unpacks samples into batches whose memory is used in turn."""

    def __init__(self, env_spec: EnvSpec, config: Config, *, num_buffers: int = 2) -> None:
        """Fix the shapes; the buffers follow with the first batches."""
        frames_per_block = config.replay.frames_per_block
        self._codec = SliceCodec(env_spec, config.agent, frames_per_block=frames_per_block)
        self._buffers: list[SliceBatch | None] = [None] * num_buffers
        self._num_batches = 0

    def decode(self, samples: Sequence[Sample]) -> SliceBatch:
        """Return ``samples`` as arrays that stay until the ``num_buffers``-th call from now."""
        batch = self._next_buffer(len(samples))
        for i, sample in enumerate(samples):
            self._codec.decode_into(batch, i, blocks=sample.blocks, place=sample.place)
            batch.shards[i] = sample.shard
            batch.keys[i] = sample.key
            batch.probabilities[i] = sample.probability
            batch.table_sizes[i] = sample.table_size
            batch.priorities[i] = sample.priority
        return batch

    def _next_buffer(self, num: int) -> SliceBatch:
        place = self._num_batches % len(self._buffers)
        self._num_batches += 1
        buffer = self._buffers[place]
        if buffer is None or len(buffer.keys) != num:
            buffer = self._codec.allocate(num)
            self._buffers[place] = buffer
        return buffer


class SampleStream:
    """Reverb's endless stream of samples, which knows no timeout, read by a thread."""

    def __init__(
        self,
        address: str,
        stop: StopSignal,
        *,
        table: str = TRAJECTORIES,
        max_in_flight: int,
        num_ahead: int,
    ) -> None:
        """Start reading, up to ``num_ahead`` samples and those in flight before they are wanted."""
        self._address, self._stop, self._max_in_flight = address, stop, max_in_flight
        self._table = table
        self._samples: queue.Queue[Sample] = queue.Queue(num_ahead)
        guarded_thread(self._run, stop, name="slice-sampler")

    def get(self, *, timeout_s: float) -> Sample | None:
        """Return the next sample, or None at the timeout or when a stop is asked for."""
        deadline = time.monotonic() + timeout_s
        while not self._stop.is_set():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            try:
                return self._samples.get(timeout=min(left_s, _TURN_S))
            except queue.Empty:
                continue
        return None

    def _run(self) -> None:
        client = reverb_lite.load().Client(self._address)
        sampler = None
        while not self._stop.is_set():
            try:
                if sampler is None:
                    sampler = reverb_lite.new_sampler(
                        client, self._table, max_in_flight=self._max_in_flight
                    )
                sample = _unpacked(sampler.GetNextTrajectory())
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


def _unpacked(sample: list[Any]) -> Sample:
    return Sample(
        key=sample[_KEY].item(),
        probability=sample[_PROBABILITY].item(),
        table_size=sample[_TABLE_SIZE].item(),
        priority=sample[_PRIORITY].item(),
        blocks=sample[_BLOCKS].tolist(),
        place=sample[_PLACE].item(),
    )

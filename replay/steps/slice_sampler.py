"""Draws slices from a table of steps in the background and decodes them into stacked arrays.

A reanalyzer holds one.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from efficientzero.config import Config, corrects_behaviour
from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import EnvSpec, SliceBatch
from replay.driver import Quarantine, reverb_lite
from replay.format import SliceCodec
from replay.steps.priorities import MAX_PRIORITY
from replay.tables import TRAJECTORIES, trajectories_table

MAX_IN_FLIGHT = 64  # the service spends a quarter less on a sample than with 16
_POLL_S = 0.2
_RETRY_S = 0.5
# Reverb's order: [key, probability, table_size, priority, times_sampled, blocks, [place]].
_KEY, _PROBABILITY, _TABLE_SIZE, _PRIORITY, _, _BLOCKS, _PLACE = range(7)
_NUM_COLUMNS = 7
_SAME_IN_A_ROW = 128
_ALWAYS = 0.5
"""An item of lower probability is not drawn 128 times in a row by chance."""
_ROUNDING = 1e-6

log = logging.getLogger(__name__)


class Sample(NamedTuple):
    """One item, still compressed."""

    key: int
    probability: float
    table_size: int
    priority: float
    blocks: list[bytes]
    place: int


class SliceSampler:
    """Samples about one batch ahead, still compressed: more would use stale priorities."""

    def __init__(
        self,
        address: str,
        env_spec: EnvSpec,
        config: Config,
        stop: StopSignal,
        *,
        table: str | None = None,
        num_slices_ahead: int | None = None,
        num_buffers: int = 2,
    ) -> None:
        """Start sampling; returns at once, whether or not replay is up.

        Args:
            address: of the replay service.
            env_spec: of the run's environment.
            config: of the run.
            stop: ends the waits and the thread.
            table: to draw from; that of the environment's steps by default.
            num_slices_ahead: slices to hold ready; one training batch by default.
            num_buffers: number of batch buffers, reused in turn.
        """
        self._stop = stop
        ahead = config.learner.batch_size if num_slices_ahead is None else num_slices_ahead
        in_flight = max(1, min(MAX_IN_FLIGHT, ahead))
        self._stream = SampleStream(
            address,
            stop,
            table=table or trajectories_table(env_spec, has_movers=config.league.has_pool),
            max_in_flight=in_flight,
            num_ahead=max(1, ahead - in_flight),
        )
        self._decoder = SliceDecoder(env_spec, config, num_buffers=num_buffers)
        self._taken: list[Sample] = []

    @property
    def dropped_items(self) -> int:
        """Number of items drawn that could not be used."""
        return self._stream.quarantine.dropped

    def sample(self, num: int, *, timeout_s: float) -> SliceBatch | None:
        """Return ``num`` slices, or None at the timeout or when a stop is asked for.

        The arrays are reused: they stay valid until the ``num_buffers``-th call from now (fresh
        memory for 256 RGB slices would cost more than the decoding). Slices that arrived before a
        timeout are kept for the next call. Unusable items are dropped and replaced by others.

        Raises:
            PoisonedReplay: all items of a long time were unusable.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:  # also where nothing but bad items comes
            while len(self._taken) < num:
                self._stream.quarantine.check()
                sample = self._stream.get(timeout_s=deadline - time.monotonic())
                if sample is None:
                    return None
                self._taken.append(sample)
            samples = self._taken[:num]
            batch, bad = self._decoder.decode(samples)
            for i, why in bad.items():
                self._stream.quarantine.drop(why, key=samples[i].key)
            if len(bad) < num:
                self._stream.quarantine.passed()
            if not bad:
                del self._taken[:num]
                return batch
            self._taken = [sample for i, sample in enumerate(self._taken) if i not in bad]
        return None


class SliceDecoder:
    """Unpacks samples into batches whose buffers are reused in turn."""

    def __init__(self, env_spec: EnvSpec, config: Config, *, num_buffers: int = 2) -> None:
        """Set the shapes; buffers are allocated with the first batches."""
        frames_per_block = config.replay.frames_per_block
        self._codec = SliceCodec(
            env_spec,
            config.agent,
            frames_per_block=frames_per_block,
            whole_behaviour=corrects_behaviour(config),
            sampled_actions=config.search.sampled_actions,
            has_movers=config.league.has_pool,
        )
        # Float32 rounds an env_step past 2^24.
        self._most_env_steps = int(config.budget.env_steps * (1.0 + 2.0**-22)) + 1
        self._buffers: list[SliceBatch | None] = [None] * num_buffers
        self._num_batches = 0

    def decode(self, samples: Sequence[Sample]) -> tuple[SliceBatch, dict[int, str]]:
        """Return ``samples`` as arrays, and the reasons of unusable ones by their position.

        The arrays stay valid until the ``num_buffers``-th call from now without unusable samples.
        """
        batch = self._buffer(len(samples))
        bad: dict[int, str] = {}
        for i, sample in enumerate(samples):
            try:
                self._codec.decode_into(batch, i, blocks=sample.blocks, place=sample.place)
            except (ValueError, TypeError, OverflowError) as error:
                bad[i] = str(error)
                batch.env_steps[i] = 0
            batch.keys[i] = sample.key
            batch.probabilities[i] = sample.probability
            batch.table_sizes[i] = sample.table_size
            batch.priorities[i] = sample.priority
        for i in np.flatnonzero(batch.env_steps > self._most_env_steps).tolist():
            bad[i] = (
                f"env_step: got {batch.env_steps[i]}, wanted at most budget.env_steps: not of this "
                "run"
            )
        self._num_batches += not bad
        return batch, bad

    def _buffer(self, num: int) -> SliceBatch:
        place = self._num_batches % len(self._buffers)
        buffer = self._buffers[place]
        if buffer is None or len(buffer.keys) != num:
            buffer = self._codec.allocate(num)
            self._buffers[place] = buffer
        return buffer


class SampleStream:
    """Reverb's endless stream of samples, which has no timeout, read by a thread."""

    def __init__(
        self,
        address: str,
        stop: StopSignal,
        *,
        table: str = TRAJECTORIES,
        max_in_flight: int,
        num_ahead: int,
    ) -> None:
        """Start reading ahead, up to ``num_ahead`` samples plus those in flight."""
        self._address, self._stop, self._max_in_flight = address, stop, max_in_flight
        self._table = table
        self.quarantine = Quarantine("item", address, table, stop)
        """Quarantine of the samples drawn here; the owner adds those it cannot decode."""
        self.num_dropped = 0
        """Number of samples that this stream dropped."""
        self._last_key, self._num_same = -1, 0
        self._samples: queue.Queue[Sample] = queue.Queue(num_ahead)
        guarded_thread(self._run, stop, name="slice-sampler")

    def get(self, *, timeout_s: float) -> Sample | None:
        """Return the next sample, or None at the timeout or when a stop is asked for."""
        return self._stop.get(self._samples, timeout_s)

    def _run(self) -> None:
        client = reverb_lite.load().Client(self._address)
        sampler = None
        while not self._stop.is_set():
            try:
                if sampler is None:
                    sampler = reverb_lite.new_sampler(
                        client, self._table, max_in_flight=self._max_in_flight
                    )
                drawn = sampler.GetNextTrajectory()
            except ValueError as error:  # an item that Reverb itself cannot put together
                self.num_dropped += 1
                self.quarantine.drop(f"Reverb: {error}")
                sampler = None
                self._stop.wait(_RETRY_S)
                continue
            except RuntimeError as error:
                log.warning("sampling again after: %s", error)
                sampler = None
                self._stop.wait(_RETRY_S)
                continue
            sample = self._checked(drawn)
            while sample is not None and not self._stop.is_set():
                try:
                    self._samples.put(sample, timeout=_POLL_S)
                    break
                except queue.Full:
                    continue

    def _checked(self, drawn: list[Any]) -> Sample | None:
        """Return the sample, or None if it was dropped."""
        key = drawn[_KEY].item()
        try:
            sample = _unpacked(drawn)
            self._check_draw(sample)
        except ValueError as error:
            self.num_dropped += 1
            self.quarantine.drop(str(error), key=key)
            return None
        return sample

    def _check_draw(self, sample: Sample) -> None:
        """Check that the table draws at random: an infinite priority makes it draw one item."""
        self._num_same = self._num_same + 1 if sample.key == self._last_key else 0
        self._last_key = sample.key
        if self._num_same >= _SAME_IN_A_ROW and sample.probability < _ALWAYS:
            raise ValueError(
                f"draws: got the same item {self._num_same + 1} times, of {sample.table_size} and "
                f"with probability {sample.probability:.3g}; the table's priorities are damaged"
            )


def _unpacked(drawn: list[Any]) -> Sample:
    """Return Reverb's arrays as a sample.

    Raises:
        ValueError: not in the format that actors write, or a number is out of range.
    """
    if len(drawn) != _NUM_COLUMNS:
        raise ValueError(f"item: got {len(drawn)} columns, wanted {_NUM_COLUMNS}")
    blocks, place = drawn[_BLOCKS], drawn[_PLACE]
    if blocks.dtype != np.object_ or blocks.ndim != 1:
        raise ValueError(f"blocks: got {blocks.dtype} {blocks.shape}, wanted bytes [N]")
    if place.dtype.kind != "i" or place.size != 1:
        raise ValueError(f"place: got {place.dtype} {place.shape}, wanted one integer")
    sample = Sample(
        key=drawn[_KEY].item(),
        probability=drawn[_PROBABILITY].item(),
        table_size=drawn[_TABLE_SIZE].item(),
        priority=drawn[_PRIORITY].item(),
        blocks=blocks.tolist(),
        place=place.item(),
    )
    # Comparisons with NaN are false.
    if not (0.0 < sample.probability <= 1.0 + _ROUNDING and sample.table_size >= 1):
        raise ValueError(
            f"draw: got probability {sample.probability} of {sample.table_size} items, wanted "
            "more than 0, at most 1, of at least one"
        )
    if not 0.0 <= sample.priority <= MAX_PRIORITY * (1.0 + _ROUNDING):
        raise ValueError(f"priority: got {sample.priority}, wanted 0 to {MAX_PRIORITY:g}")
    return sample

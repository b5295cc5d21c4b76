"""Samples for deterministic runs: the service's items in order of arrival, drawn from a seed.

The one reanalyzer of such a run holds one in place of a ``SliceSampler``. Reverb's sampler cannot
be seeded and reads ahead; here the items go through the same table, each once, and are kept and
drawn on this side.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from efficientzero.config import Config
from efficientzero.runtime import PlainError, StopSignal
from efficientzero.schema import EnvSpec
from efficientzero.slices import SliceBatch
from replay.info import ReplayInfo
from replay.slice_sampler import Sample, SampleStream, SliceDecoder
from replay.step_pool import StepPool

_NUM_AHEAD = 64


class OrderedSampler:
    """Keeps the newest ``replay.capacity`` steps of those that arrived, and draws from them.

    Costs this process what the service would have needed for the steps, and the compressed frames
    a few times over: only neighbours share their blocks here.
    """

    def __init__(
        self,
        address: str,
        env_spec: EnvSpec,
        config: Config,
        stop: StopSignal,
        *,
        generator: np.random.Generator,
    ) -> None:
        """Start reading; returns at once, whether or not replay is up."""
        self._info = ReplayInfo(address)
        # One in flight: whatever the service does with larger requests, the order is certain.
        self._stream = SampleStream(address, stop, max_in_flight=1, num_ahead=_NUM_AHEAD)
        self._decoder = SliceDecoder(env_spec, config)
        self._pool = StepPool[Sample](
            config.replay.capacity, config.replay.priority_exponent, generator
        )
        self._blocks: list[bytes] = []  # of the item before

    def update(self, keys: Iterable[int], priorities: Iterable[float]) -> None:
        """Set the priorities of drawn steps."""
        self._pool.update(keys, priorities)

    def sample(self, num: int, *, timeout_s: float) -> SliceBatch | None:
        """Take in all steps that have arrived, then draw ``num``; arrays as ``SliceSampler``'s.

        Returns:
            The slices, or None at the timeout or when a stop is asked for; nothing was drawn then.

        Raises:
            PlainError: no step has arrived, and none will as long as the caller has the turn.
        """
        if not self._catch_up(timeout_s):
            return None
        if not self._pool.num_added:
            raise PlainError(
                "replay: got no complete step in the warm-up, wanted at least one: raise "
                "budget.warmup_env_steps"
            )
        return self._decoder.decode(
            [
                draw.item._replace(
                    key=draw.key,
                    probability=draw.probability,
                    table_size=draw.table_size,
                    priority=draw.priority,
                )
                for draw in self._pool.draw(num)
            ]
        )

    def _catch_up(self, timeout_s: float) -> bool:
        """Take in what the service has got so far; return False if that was not possible in time.

        Its count is final: no actor plays while batches are made.
        """
        deadline = time.monotonic() + timeout_s
        counts = self._info.read()
        if counts is None:
            return False
        while self._pool.num_added < counts.steps_inserted:
            sample = self._stream.get(timeout_s=deadline - time.monotonic())
            if sample is None:
                return False
            # Neighbours share most of their blocks.
            shared = {block: block for block in self._blocks}
            self._blocks = [shared.get(block, block) for block in sample.blocks]
            self._pool.add(sample._replace(blocks=self._blocks), sample.priority)
        return True

"""Samples for deterministic runs: the service's items in order of arrival, drawn from a seed.

The one reanalyzer of such a run holds one in place of a ``SliceSampler``. Reverb's sampler cannot
be seeded and reads ahead; here every item passes the table once, and is kept and drawn in this
process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from efficientzero.config import Config
from efficientzero.process.runtime import PlainError, StopSignal
from efficientzero.schema import EnvSpec, SliceBatch
from replay.driver import PoisonedReplay
from replay.info import ReplayInfo
from replay.steps.slice_sampler import Sample, SampleStream, SliceDecoder
from replay.steps.step_pool import StepPool
from replay.tables import trajectories_table

_NUM_AHEAD = 64
_POLL_S = 0.2


class OrderedSampler:
    """Keeps the newest ``replay.capacity`` steps that arrived, and draws from them.

    Needs the memory in this process that the service would need for the steps, and stores each
    compressed frame a few times: only neighbouring items share their blocks here.
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
        self._info, self._stop = ReplayInfo(address), stop
        # One in flight, so that the order does not depend on how the service answers.
        self._stream = SampleStream(
            address,
            stop,
            table=trajectories_table(env_spec, has_movers=config.league.has_pool),
            max_in_flight=1,
            num_ahead=_NUM_AHEAD,
        )
        self._decoder = SliceDecoder(env_spec, config)
        self._pool = StepPool[Sample](
            config.replay.capacity, config.replay.priority_exponent, generator
        )
        self._blocks: list[bytes] = []  # of the previous item

    @property
    def dropped_items(self) -> int:
        """Number of items read or drawn that could not be used."""
        return self._stream.quarantine.dropped

    def update(self, keys: Iterable[int], priorities: Iterable[float]) -> None:
        """Set the priorities of drawn steps."""
        self._pool.update(keys, priorities)

    def sample(self, num: int, *, timeout_s: float) -> SliceBatch | None:
        """Read all steps that have arrived, then draw ``num``; arrays as in ``SliceSampler``.

        Returns:
            The slices, or None at the timeout or when a stop is asked for; nothing was drawn then.

        Raises:
            PlainError: no step has arrived, and none will arrive during the caller's turn; or
                replay was emptied.
            PoisonedReplay: none of the steps can be used.
        """
        if not self._catch_up(timeout_s):
            return None
        if not self._pool.num_added:
            raise PlainError(
                "replay: got no complete step in the warm-up, wanted at least one: raise "
                "budget.warmup_env_steps"
            )
        samples: list[Sample] = []
        while True:
            samples += [
                draw.item._replace(
                    key=draw.key,
                    probability=draw.probability,
                    table_size=draw.table_size,
                    priority=draw.priority,
                )
                for draw in self._pool.draw(num - len(samples))
            ]
            batch, bad = self._decoder.decode(samples)
            if not bad:
                return batch
            for i, why in bad.items():
                if self._pool.discard(samples[i].key):
                    self._stream.quarantine.drop(why)
            if not self._pool.has_any():
                raise PoisonedReplay(
                    f"replay: got {self._pool.num_added} steps, none of which can be used; the "
                    f"last one: {why}"
                )
            samples = [sample for i, sample in enumerate(samples) if i not in bad]

    def _catch_up(self, timeout_s: float) -> bool:
        """Read all steps of the service; return False if that was not possible in time.

        Their number is final: no actor plays while batches are made.
        """
        deadline = time.monotonic() + timeout_s
        counts = self._info.read()
        if counts is None:
            return False
        if counts.steps_inserted < self._pool.num_added:
            raise PlainError(
                f"replay: got {counts.steps_inserted} steps, wanted at least the "
                f"{self._pool.num_added} that came before: it was emptied or started again; a "
                "deterministic run cannot go on without them"
            )
        while self._pool.num_added + self._stream.num_dropped < counts.steps_inserted:
            poll_s = min(_POLL_S, deadline - time.monotonic())
            sample = self._stream.get(timeout_s=poll_s)
            if sample is None:
                if self._stop.is_set() or time.monotonic() >= deadline:
                    return False
                continue
            # Neighbours share most of their blocks.
            shared = {block: block for block in self._blocks}
            self._blocks = [shared.get(block, block) for block in sample.blocks]
            self._pool.add(sample._replace(blocks=self._blocks), sample.priority)
        return True

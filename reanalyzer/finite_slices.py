"""Refuses a replay that holds a NaN, by its name, before a search or the learner meets it.

Actors write finite numbers only. What was recorded by other means, or by a version that did not
check its environments, is found here: by every run that samples it, resumed and forked ones too.
"""

from __future__ import annotations

import numpy as np

from efficientzero.run_folder import RunInfo
from efficientzero.runtime import PlainError
from efficientzero.slices import SliceBatch
from reanalyzer.reanalyzer import SliceSource

_FIELDS = ("frames", "rewards", "search_policies", "root_values")


class DamagedReplay(PlainError):
    """A stored step has a number that is not finite; it would be sampled again."""

    is_final = True


class FiniteSlices:
    """A ``SliceSource`` whose slices have finite numbers."""

    def __init__(self, source: SliceSource, run: RunInfo) -> None:
        """Take over ``source``; ``run`` is named in the error."""
        self._source, self._run = source, run

    def sample(self, num: int, *, timeout_s: float) -> SliceBatch | None:
        """Return ``num`` slices, or None if they did not come in time.

        Raises:
            DamagedReplay: one of them has a number that is not finite.
        """
        slices = self._source.sample(num, timeout_s=timeout_s)
        if slices is not None:
            self._check(slices)
        return slices

    def _check(self, slices: SliceBatch) -> None:
        for name in _FIELDS:
            values = getattr(slices, name)
            if values.dtype.kind != "f" or np.isfinite(values).all():
                continue
            place = np.argwhere(~np.isfinite(values))[0]
            row, run = place[0], self._run
            taken = f", taken from {run.lineage.description}" if run.lineage else ""
            raise DamagedReplay(
                f"the replay of run {run.run_id} ({run.directory}/replay-{slices.shards[row]}"
                f"{taken}) cannot be trained on: {name} near env_step {slices.env_steps[row]}: got "
                f"{values[tuple(place)]}, wanted finite numbers; start a new run"
            )

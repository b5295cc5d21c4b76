"""Fresh priorities for stored steps, so that those nobody draws do not keep old ones for ever.

Used by the reanalyzer's loop where ``replay.priority_refresh_share`` asks for it. Steps are drawn
uniformly; their priorities travel with a training batch and reach replay through the learner.
"""

from __future__ import annotations

from typing import Protocol

from efficientzero.schema import SliceBatch, TrainingBatch
from reanalyzer.targets.target_maker import TargetMaker

_SOON_S = 0.1


class PriorityRefresh:
    """Adds fresh priorities to training batches."""

    def __init__(self, num: int, stored: SliceSource, targets: TargetMaker) -> None:
        """Refresh ``num`` steps with each batch.

        Args:
            num: steps.
            stored: draws uniformly from replay.
            targets: with the target weights.
        """
        self._num, self._stored, self._targets = num, stored, targets

    def added_to(self, batch: TrainingBatch, target_train_step: int) -> TrainingBatch:
        """Return ``batch`` with fresh priorities, or as it is if no steps come at once."""
        slices = self._stored.sample(self._num, timeout_s=_SOON_S)
        if slices is None:
            return batch
        return batch._replace(
            refreshed_steps=slices.env_steps.copy(),
            refreshed_priorities=self._targets.value_errors(slices, target_train_step),
        )


class SliceSource(Protocol):
    """Where sampled slices come from; all of them are fit to be used."""

    @property
    def dropped_items(self) -> int:
        """Items ever drawn that were not."""

    def sample(self, num: int, *, timeout_s: float) -> SliceBatch | None:
        """Return ``num`` slices, or None if they did not come in time."""

"""Fresh priorities for stored steps, so that rarely sampled steps do not keep old ones.

Used by the reanalyzer's loop if ``replay.priority_refresh_share`` is above 0. Steps are drawn
uniformly; their priorities travel with a training batch and reach replay through the learner.
"""

from __future__ import annotations

from typing import Protocol

from efficientzero.schema import SliceBatch
from reanalyzer.targets import TargetMaker
from replay.format import TrainingBatch

_SOON_S = 0.1


class PriorityRefresh:
    """Adds fresh priorities to training batches."""

    def __init__(self, num: int, stored: SliceSource, targets: TargetMaker) -> None:
        """Refresh ``num`` steps with each batch.

        Args:
            num: steps per batch.
            stored: draws uniformly from replay.
            targets: computes priorities with the target weights.
        """
        self._num, self._stored, self._targets = num, stored, targets

    def added_to(self, batch: TrainingBatch, target_train_step: int) -> TrainingBatch:
        """Return ``batch`` with fresh priorities, or unchanged if no steps are ready."""
        slices = self._stored.sample(self._num, timeout_s=_SOON_S)
        if slices is None:
            return batch
        return batch._replace(
            refreshed_steps=slices.env_steps.copy(),
            refreshed_priorities=self._targets.value_errors(slices, target_train_step),
        )


class SliceSource(Protocol):
    """A source of sampled slices, all of them valid."""

    @property
    def dropped_items(self) -> int:
        """Number of invalid items drawn so far."""

    def sample(self, num: int, *, timeout_s: float) -> SliceBatch | None:
        """Return ``num`` slices, or None if they did not arrive in time."""

"""Sends replay new priorities after each train_step, and follows the ages of stored priorities.

Held by the learner's loop. A reanalyzer identifies a refreshed priority by its env_step, because it
drew the item from another table than the one sampled by priority; here env_steps are mapped to item
keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from efficientzero.config import Config
from efficientzero.schema import F64, I64, U64, Bool
from replay.format import TrainingBatch

_NONE = -1
_SPARE = 2
_OLD = 95.0  # percentile


class PrioritySink(Protocol):
    """Receives new priorities."""

    @property
    def dropped_updates(self) -> int:
        """Number of updates that were dropped."""

    def update(self, keys: U64, priorities: F64) -> None:
        """Send priorities [B] of items; never blocks. Of equal keys the last one counts."""


class PriorityFeedback:
    """Sends priorities of train_steps and refreshed ones, and follows their ages.

    For the newest steps trained on it stores the key of their item in replay and the train_step of
    the weights that gave their priority: 24 bytes per step, for twice as many steps as replay
    holds. Steps not yet trained on have their initial priority, the largest; they are soon drawn
    and need no refresh before. An env_step that was granted again after an actor's crash may have
    two items; the last one drawn is used.
    """

    def __init__(self, config: Config, sink: PrioritySink) -> None:
        """Begin without any step."""
        self._sink = sink
        self._capacity = config.replay.capacity
        size = min(config.budget.env_steps, _SPARE * self._capacity)
        # Step s is at index s modulo the size.
        self._steps = np.full(size, _NONE, np.int64)
        self._keys = np.zeros(size, np.uint64)
        self._set_at = np.zeros(size, np.int64)
        self._num_seen = 0  # one more than the newest env_step seen
        self._evicted, self._refreshed, self._dropped = 0, 0, 0

    def update(self, batch: TrainingBatch, priorities: F64, train_step: int) -> None:
        """Send the priorities of a train_step.

        Args:
            batch: the batch trained on.
            priorities: f64 [B], of its slices.
            train_step: of the weights that gave the priorities.
        """
        made_at = int(batch.target_weights_versions.min())
        usable = self._usable(batch.refreshed_steps, made_at)
        places = self._places(batch.refreshed_steps[usable])
        self._set_at[places] = made_at
        self._refreshed += len(places)
        # Those of the train_step come last, because they are newer.
        keys = np.concatenate([self._keys[places], batch.keys])
        values = np.concatenate([batch.refreshed_priorities[usable], priorities])
        self._note(batch, train_step)
        self._sink.update(keys, values)

    def row(self, train_step: int) -> dict[str, float]:
        """Return counts since the last row, and ages of stored priorities in train_steps.

        Ages are of the steps trained on and still stored. Reverb evicts in the order of arrival;
        here the order of env_steps is used, which differs by the lengths of running episodes.
        """
        oldest = max(0, self._num_seen - self._capacity)
        ages = train_step - self._set_at[self._steps >= oldest]
        dropped = self._sink.dropped_updates
        row = {
            "learner/priorities_evicted": float(self._evicted),
            "learner/priorities_refreshed": float(self._refreshed),
            "learner/priority_updates_dropped": float(dropped - self._dropped),
        }
        if len(ages):
            row["learner/priority_age_mean"] = float(ages.mean())
            row["learner/priority_age_p95"] = float(np.percentile(ages, _OLD))
        self._evicted, self._refreshed, self._dropped = 0, 0, dropped
        return row

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return what a checkpoint must keep; keys outlive a snapshot of replay."""
        keys = self._keys.view(np.int64)  # torch hardly knows u64
        arrays: dict[str, NDArray[Any]] = {
            "steps": self._steps,
            "keys": keys,
            "set_at": self._set_at,
        }
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from a checkpoint of the same run."""
        self._steps[:] = state["steps"].numpy()
        self._keys[:] = state["keys"].numpy().view(np.uint64)
        self._set_at[:] = state["set_at"].numpy()
        self._num_seen = int(self._steps.max()) + 1

    def _places(self, steps: I64) -> I64:
        places: I64 = steps % len(self._steps)
        return places

    def _note(self, batch: TrainingBatch, train_step: int) -> None:
        """Store the steps of ``batch``, except those no longer in replay."""
        self._num_seen = max(self._num_seen, int(batch.env_steps.max()) + 1)
        is_stored = batch.env_steps >= self._num_seen - self._capacity
        self._evicted += int((~is_stored).sum())
        steps = batch.env_steps[is_stored]
        places = self._places(steps)
        self._steps[places], self._keys[places] = steps, batch.keys[is_stored]
        self._set_at[places] = train_step

    def _usable(self, steps: I64, made_at: int) -> Bool:
        """Return which steps have a known key and no newer priority, bool [R]."""
        places = self._places(steps)
        usable: Bool = (
            (steps >= 0) & (self._steps[places] == steps) & (self._set_at[places] <= made_at)
        )
        return usable

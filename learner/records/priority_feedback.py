"""What the learner tells replay after each train_step: new priorities, and how old the others are.

Held by the learner's loop. A refreshed priority comes from a reanalyzer under its env_step, because
the item that it drew is another than the one that is sampled by priority: here is the directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from efficientzero.config import Config
from efficientzero.schema import F64, I64, U64, Bool, TrainingBatch

_NONE = -1
_SPARE = 2
_OLD = 95.0  # percentile


class PrioritySink(Protocol):
    """Where new priorities go."""

    @property
    def dropped_updates(self) -> int:
        """Updates that never arrived."""

    def update(self, keys: U64, priorities: F64) -> None:
        """Send priorities [B] of items; never blocks. Of one key's, the last counts."""


class PriorityFeedback:
    """Sends priorities, those of the train_step and those refreshed, and follows their ages.

    Of the newest steps trained on it knows the key of their item in replay and the
    train_step of the weights behind their priority: 24 bytes a step, twice as many steps as replay
    holds. Steps not yet trained on have the priority that they entered with, the largest; they are
    soon drawn, and until then need no refreshing. An env_step that was granted again after an
    actor's crash may name two items: the last one drawn is meant.
    """

    def __init__(self, config: Config, sink: PrioritySink) -> None:
        """Know no step yet."""
        self._sink = sink
        self._capacity = config.replay.capacity
        size = min(config.budget.env_steps, _SPARE * self._capacity)
        # Of step s at place s modulo the size.
        self._steps = np.full(size, _NONE, np.int64)
        self._keys = np.zeros(size, np.uint64)
        self._set_at = np.zeros(size, np.int64)
        self._num_seen = 0  # one more than the newest env_step seen
        self._evicted, self._refreshed, self._dropped = 0, 0, 0

    def update(self, batch: TrainingBatch, priorities: F64, train_step: int) -> None:
        """Send what a train_step found.

        Args:
            batch: trained on.
            priorities: f64 [B], of its slices.
            train_step: train_steps behind the weights that made them.
        """
        made_at = int(batch.target_weights_versions.min())
        usable = self._usable(batch.refreshed_steps, made_at)
        places = self._places(batch.refreshed_steps[usable])
        self._set_at[places] = made_at
        self._refreshed += len(places)
        # The train_step's own come last: they are the newer ones.
        keys = np.concatenate([self._keys[places], batch.keys])
        values = np.concatenate([batch.refreshed_priorities[usable], priorities])
        self._note(batch, train_step)
        self._sink.update(keys, values)

    def row(self, train_step: int) -> dict[str, float]:
        """Return counts since the last row, and ages of stored priorities in train_steps.

        Ages are of the steps trained on and still stored. Reverb evicts in the order of arrival,
        taken here for the order of env_steps, which differ by the lengths of running episodes.
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
        """Remember the steps of ``batch``, but for those that replay holds no more."""
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

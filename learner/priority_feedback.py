"""What the learner tells replay after each train_step: new priorities, and how old the others are.

Held by the learner's loop. A refreshed priority comes from a reanalyzer under its env_step, because
the item that it drew is another than the one that is sampled by priority: here is the directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from efficientzero.config import Config
from efficientzero.schema import F64, I64, U64, Bool, TrainingBatch

_NEVER = -1
_OLD = 95.0  # percentile


class PrioritySink(Protocol):
    """Where new priorities go."""

    dropped_updates: int
    """Updates that never arrived."""

    def update(self, keys: U64, priorities: F64) -> None:
        """Send priorities of items; never blocks. Of one key's, the last counts."""


class PriorityFeedback:
    """Sends priorities, those of the train_step and those refreshed, and follows their ages.

    Of each env_step trained on it knows the key of its item in replay and the train_step of the
    weights behind its priority: 16 bytes each. Steps not yet trained on have the priority that
    they entered with, the largest; they are soon drawn, and until then need no refreshing.
    """

    def __init__(self, config: Config, sink: PrioritySink) -> None:
        """Know no step yet."""
        self._sink = sink
        self._capacity = config.replay.capacity
        self._keys = np.zeros(config.budget.env_steps, np.uint64)
        self._set_at = np.full(config.budget.env_steps, _NEVER, np.int64)
        self._num_seen = 0  # one more than the newest env_step seen
        self._evicted, self._refreshed, self._dropped = 0, 0, 0

    def update(self, batch: TrainingBatch, priorities: F64, train_step: int) -> None:
        """Send what a train_step found.

        Args:
            batch: trained on.
            priorities: f64 [B], of its slices.
            train_step: train_steps behind the weights that made them.
        """
        steps, keys, values = batch.env_steps, batch.keys, priorities
        self._num_seen = max(self._num_seen, int(steps.max()) + 1)
        self._evicted += int((steps < self._num_seen - self._capacity).sum())
        self._keys[steps] = keys
        if len(batch.refreshed_steps):
            made_at = int(batch.target_weights_versions.min())
            usable = self._usable(batch.refreshed_steps, made_at)
            refreshed = batch.refreshed_steps[usable]
            self._set_at[refreshed] = made_at
            self._refreshed += len(refreshed)
            # The train_step's own come last: they are the newer ones.
            keys = np.concatenate([self._keys[refreshed], keys])
            values = np.concatenate([batch.refreshed_priorities[usable], values])
        self._set_at[steps] = train_step
        self._sink.update(keys, values)

    def row(self, train_step: int) -> dict[str, float]:
        """Return counts since the last row, and ages of stored priorities in train_steps.

        Ages are of the steps trained on and still stored. Reverb evicts in the order of arrival,
        taken here for the order of env_steps, which differ by the lengths of running episodes.
        """
        ages = train_step - self._stored()
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

    def state(self) -> dict[str, torch.Tensor]:
        """Return what a checkpoint must keep; keys outlive a snapshot of replay."""
        keys = self._keys[: self._num_seen].view(np.int64).copy()  # torch hardly knows u64
        set_at = self._set_at[: self._num_seen].copy()
        return {"keys": torch.from_numpy(keys), "set_at": torch.from_numpy(set_at)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from a checkpoint."""
        self._num_seen = len(state["keys"])
        self._keys[: self._num_seen] = state["keys"].numpy().view(np.uint64)
        self._set_at[: self._num_seen] = state["set_at"].numpy()

    def _stored(self) -> I64:
        """Return when the priorities of stored steps were set."""
        stored = self._set_at[max(0, self._num_seen - self._capacity) : self._num_seen]
        known: I64 = stored[stored != _NEVER]
        return known

    def _usable(self, steps: I64, made_at: int) -> Bool:
        """Return which steps have a known key and no newer priority, bool [M]."""
        is_known = (steps >= 0) & (steps < self._num_seen)
        set_at = self._set_at[np.where(is_known, steps, 0)]
        usable: Bool = is_known & (set_at != _NEVER) & (set_at <= made_at)
        return usable

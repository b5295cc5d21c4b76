"""Checks of a training batch before a train_step uses it.

Called by the learner on arrays in host memory. A bad batch would train the network towards garbage
or crash the process inside CUDA; the check names the bad field before that.
"""

from __future__ import annotations

import logging
import math

import numpy as np

from efficientzero.config import Config
from efficientzero.process.runtime import PlainError
from efficientzero.schema import I64, Bool, EnvSpec, TrainingBatch
from replay.format import batch_spec

_FINITE = (
    *("frames", "value_prefixes", "values", "policies", "probabilities"),
    "refreshed_priorities",
)
_MOST_OVERFLOW = 0.5
_ROUNDING = 1e-3
_MOST_TRAIN_STEPS = 2**40

log = logging.getLogger(__name__)


class BadBatch(ValueError):
    """A training batch that must not be trained on; the next one may be good."""


class TargetsBeyondSupport(PlainError):
    """With the run's settings even good batches cannot be trained on."""

    is_permanent = True


class BatchChecks:
    """Checks every batch of a run."""

    def __init__(self, config: Config, spec: EnvSpec, *, largest_target: float) -> None:
        """Store the expected shapes and ranges.

        Args:
            config: batch size, unroll and, for the messages, ``network.support_bound``.
            spec: shapes of frames and policies.
            largest_target: raw magnitude of values and prefixes that the network can express.
        """
        self._wanted, self._num_actions = batch_spec(spec, config), spec.num_actions
        # Stored as float32, an env_step past 2^24 is rounded.
        self._most_env_steps = int(config.budget.env_steps * (1.0 + 2.0**-22)) + 1
        self._largest, self._bound = largest_target, config.network.support_bound
        self._has_warned = False

    def check(self, batch: TrainingBatch) -> float:
        """Return the share of value and prefix targets that the network cannot express.

        Such targets are trained as the largest that it can express. The first ones are logged.

        Raises:
            BadBatch: wrong shape, dtype or contents.
            TargetsBeyondSupport: the network cannot express over half of the targets.
        """
        for name, wanted in self._wanted.items():
            field = getattr(batch, name)
            got = (field.dtype.name, field.shape)
            if got != wanted:
                raise BadBatch(f"training batch, {name}: got {got}, wanted {wanted}")
        for name in _FINITE:
            field = getattr(batch, name)
            bad = 0 if field.dtype == np.uint8 else int((~np.isfinite(field)).sum())
            if bad:
                raise BadBatch(
                    f"training batch, {name}: got {bad} of {field.size} numbers that are not "
                    "finite, wanted none"
                )
        _check_range("actions", (batch.actions >= 0) & (batch.actions < self._num_actions))
        _check_range("probabilities", (batch.probabilities > 0) & (batch.probabilities <= 1))
        _check_range("table_sizes", batch.table_sizes >= 1)
        _check_range("action_mask", batch.action_mask.view(np.uint8) <= 1)
        _check_range("policies", (batch.policies >= 0) & (batch.policies <= 1 + _ROUNDING))
        for name in ("weights_versions", "target_weights_versions"):
            versions = getattr(batch, name)
            _check_range(name, (versions >= 0) & (versions <= _MOST_TRAIN_STEPS))
        _check_range("env_steps", self._are_steps(batch.env_steps, lowest=0))
        _check_range("refreshed_steps", self._are_steps(batch.refreshed_steps, lowest=-1))
        _check_range("refreshed_priorities", batch.refreshed_priorities >= 0)
        return self._overflow_share(batch)

    def _are_steps(self, steps: I64, *, lowest: int) -> Bool:
        """Return which are env_steps of this run; later ones would break the priority metrics."""
        are: Bool = (steps >= lowest) & (steps <= self._most_env_steps)
        return are

    def _overflow_share(self, batch: TrainingBatch) -> float:
        if math.isinf(self._largest):
            return 0.0
        at_root = np.ones((len(batch.values), 1), np.bool_)
        is_real = np.concatenate([at_root, batch.action_mask, batch.action_mask], axis=1)
        targets = np.abs(np.concatenate([batch.values, batch.value_prefixes], axis=1))[is_real]
        share = float((targets > self._largest).mean())
        if share > 0:
            message = (
                f"network.support_bound: got {self._bound}, which reaches to {self._largest:.6g}, "
                f"wanted more: {share:.1%} of a batch's value and prefix targets lie beyond, up to "
                f"{targets.max():.6g}"
            )
            if share > _MOST_OVERFLOW:
                raise TargetsBeyondSupport(message)
            if not self._has_warned:
                log.warning("%s", message)
                self._has_warned = True
        return share


def _check_range(name: str, is_good: Bool) -> None:
    bad = int((~is_good).sum())
    if bad:
        wanted = {
            "actions": "0 to the number of actions less one",
            "probabilities": "more than 0, at most 1",
            "table_sizes": "at least 1",
            "action_mask": "0 or 1",
            "policies": "0 to 1",
            "weights_versions": "train_steps",
            "target_weights_versions": "train_steps",
            "env_steps": "0 to budget.env_steps",
            "refreshed_steps": "-1 to budget.env_steps",
            "refreshed_priorities": "at least 0",
        }[name]
        raise BadBatch(f"training batch, {name}: got {bad} out of range, wanted {wanted}")

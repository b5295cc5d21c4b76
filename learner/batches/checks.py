"""Checks of a training batch before a train_step uses it.

Called by the learner on arrays in host memory. A bad batch would train the network towards garbage
or crash the process inside CUDA; the check names the bad field before that.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efficientzero.config import Config
from efficientzero.process.runtime import PlainError
from efficientzero.schema import EnvSpec
from replay.format import BATCH_FIELDS, Range, TrainingBatch, batch_spec

_MOST_OVERFLOW = 0.5

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
        self._wanted = batch_spec(spec, config)
        self._limits = {
            "last_action": max(0, spec.num_actions - 1),
            "last_offset": config.agent.num_unroll_steps + config.agent.td_steps,
            # Float32 rounds stored env_steps past 2^24. Values above the run's budget would break
            # the bookkeeping of priorities.
            "last_env_step": int(config.budget.env_steps * (1.0 + 2.0**-22)) + 1,
        }
        self._largest, self._bound = largest_target, config.network.support_bound
        self._has_warned = False

    def check(self, batch: TrainingBatch) -> float:
        """Return the share of value and prefix targets that the network cannot express.

        Such targets are clipped to the largest that it can express. The first ones are logged.

        Raises:
            BadBatch: wrong shape, dtype or contents.
            TargetsBeyondSupport: the network cannot express over half of the targets.
        """
        for name, wanted in self._wanted.items():
            field = getattr(batch, name)
            got = (field.dtype.name, field.shape)
            if got != wanted:
                raise BadBatch(f"training batch, {name}: got {got}, wanted {wanted}")
        for name, field in BATCH_FIELDS.items():
            _check_finite(name, getattr(batch, name), may_be_nan=not field.is_finite)
        for name, field in BATCH_FIELDS.items():
            if field.range is not None:
                self._check_range(name, getattr(batch, name), field.range)
        return self._overflow_share(batch)

    def _check_range(self, name: str, array: NDArray[Any], wanted: Range) -> None:
        # A bool array received as bytes may hold values other than 0 and 1.
        numbers = array.view(np.uint8) if array.dtype == np.bool_ else array
        is_good = numbers > wanted.low if wanted.excludes_low else numbers >= wanted.low
        if wanted.high is not None:
            high = wanted.high
            is_good &= numbers <= (self._limits[high] if isinstance(high, str) else high)
        bad = int((~is_good).sum())
        if bad:
            raise BadBatch(
                f"training batch, {name}: got {bad} out of range, wanted {wanted.wanted}"
            )

    def _overflow_share(self, batch: TrainingBatch) -> float:
        if math.isinf(self._largest):
            return 0.0
        at_root = np.ones((len(batch.values), 1), np.bool_)
        steps = batch.action_mask[:, : batch.value_prefixes.shape[1]]
        is_real = np.concatenate([at_root, steps, steps], axis=1)
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


def _check_finite(name: str, array: NDArray[Any], *, may_be_nan: bool) -> None:
    if array.dtype.kind != "f":
        return
    bad = int((np.isinf(array) if may_be_nan else ~np.isfinite(array)).sum())
    if bad:
        raise BadBatch(
            f"training batch, {name}: got {bad} of {array.size} numbers that are not finite, "
            "wanted none"
        )

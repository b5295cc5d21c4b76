"""The parts of the loss. To add one, write a function and a line in ``loss_parts``.

Used by everything that depends on which parts there are: the learner's step, the batch loader, the
ranks.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from efficientzero.config import Config
from learner.training.losses.consistency import CONSISTENCY_LOSSES
from learner.training.losses.unrolled_loss import LossInput, LossPart, Unrolled


def loss_parts(config: Config) -> tuple[LossPart, ...]:
    """Return the parts in the order in which they are added; the order decides rounding.

    Policy, value and value prefix are always reported. Consistency costs as much as the
    rest, so it is not computed if its coefficient is 0.
    """
    learner = config.learner
    parts: tuple[LossPart, ...] = (
        LossPart("policy", learner.policy_coefficient, policy),
        LossPart("value", learner.value_coefficient, value),
        LossPart("value_prefix", learner.value_prefix_coefficient, value_prefix),
    )
    if learner.consistency_coefficient > 0:
        consistency, coefficient = CONSISTENCY_LOSSES["cosine"], learner.consistency_coefficient
        parts += (LossPart("consistency", coefficient, consistency, needs_next_observations=True),)
    if config.agent.auxiliary_discounts:
        parts += (
            LossPart("auxiliary_value", learner.auxiliary_value_coefficient, auxiliary_value),
        )
    return parts


def policy(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return the cross-entropy with the search's policies, [B, K + 1]; 0 for a target of zeros."""
    return -(batch.policies * F.log_softmax(unrolled.policy_logits.float(), dim=-1)).sum(-1)


def value(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return the loss of the value head, [B, K + 1]."""
    return unrolled.network.support.loss(unrolled.value_logits, batch.values)


def auxiliary_value(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return the losses of the values of further horizons, added up, [B, K + 1]."""
    logits, targets = unrolled.auxiliary_value_logits, batch.auxiliary_values
    assert logits is not None and targets is not None
    return unrolled.network.support.loss(logits, targets.transpose(1, 2)).sum(-1)


def value_prefix(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return the loss of the value-prefix head, [B, K]."""
    return unrolled.network.support.loss(unrolled.value_prefix_logits, batch.value_prefixes)

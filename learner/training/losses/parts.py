"""The parts of the loss. To add one, write a function and a line in ``loss_parts``.

Used by everything that depends on which parts there are: the learner's step, the batch loader, the
ranks.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from efficientzero.config import Config
from learner.training.losses.action_values import action_value_distillation
from learner.training.losses.consistency import consistency_part
from learner.training.losses.continuous_policy import continuous_policy_parts
from learner.training.losses.loss_input import LossInput
from learner.training.losses.nce import Gather, own_rows
from learner.training.losses.reconstruction import reconstruction
from learner.training.losses.unrolled_loss import LossPart, Unrolled
from learner.training.losses.value_loss import value_loss


def loss_parts(
    config: Config, gather: Gather = own_rows, *, action_size: int = 0
) -> tuple[LossPart, ...]:
    """Return the parts in the order in which they are added; the order decides rounding.

    Policy, value and, where a model is unrolled, value prefix are always reported. The others cost
    as much as the rest, so they are not computed if their coefficient is 0.

    Args:
        config: the run's.
        gather: joins the rows of all ranks, for parts that compare slices with each other.
        action_size: X, the numbers of a continuous action; 0: actions are discrete.
    """
    learner = config.learner
    parts: tuple[LossPart, ...] = (LossPart("policy", learner.policy_coefficient, policy),)
    if action_size:
        parts = continuous_policy_parts(learner, action_size)
    parts += (LossPart("value", learner.value_coefficient, value_loss(config)),)
    if config.agent.num_unroll_steps > 0:
        parts += (LossPart("value_prefix", learner.value_prefix_coefficient, value_prefix),)
    if learner.consistency_coefficient > 0:
        parts += (consistency_part(learner, gather),)
    if learner.action_value_coefficient > 0:
        parts += (action_value_distillation(config),)
    if learner.reconstruction_coefficient > 0:
        parts += (
            LossPart(
                "reconstruction",
                learner.reconstruction_coefficient,
                reconstruction,
                needs_next_observations=config.agent.num_unroll_steps > 0,
                decay_train_steps=learner.reconstruction_train_steps,
            ),
        )
    if config.agent.auxiliary_discounts:
        parts += (
            LossPart("auxiliary_value", learner.auxiliary_value_coefficient, auxiliary_value),
        )
    return parts


def policy(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return the cross-entropy with the search's policies, [B, K + 1]; 0 for a target of zeros."""
    return -(batch.policies * F.log_softmax(unrolled.policy_logits.float(), dim=-1)).sum(-1)


def auxiliary_value(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return the losses of the values of further horizons, added up, [B, K + 1]."""
    logits, targets = unrolled.auxiliary_value_logits, batch.auxiliary_values
    assert logits is not None and targets is not None
    return unrolled.network.support.loss(logits, targets.transpose(1, 2)).sum(-1)


def value_prefix(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return the loss of the value-prefix head, [B, K]."""
    return unrolled.network.support.loss(unrolled.value_prefix_logits, batch.value_prefixes)

"""The loss of value heads, and the priorities that follow from their errors.

The only reader of ``learner.huber_delta``, ``agent.value_distribution`` and ``replay.priority`` in
the loss.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from efficientzero.config import Config
from efficientzero.networks import ScalarRegression, ValueSupport, distribution_loss
from learner.training.losses.loss_input import LossInput
from learner.training.losses.unrolled_loss import PriorityRule, Unrolled, value_errors

ScalarLoss = Callable[[ValueSupport, Tensor, Tensor], Tensor]
"""(support, outputs [..., bins], values f32 [...] on raw scale) -> losses f32 [...]."""


def value_loss(config: Config) -> Callable[[Unrolled, LossInput], Tensor]:
    """Return the loss of trained values, f32 [B, K + 1]: the support's own, Huber's or C51's.

    That of action values is 0 where no action was taken: o[t + K] is the last of its episode.
    """
    loss = _loss_of_all(config)
    if config.agent.value_function == "state":
        return loss

    def action_value(unrolled: Unrolled, batch: LossInput) -> Tensor:
        return batch.mask * loss(unrolled, batch)

    return action_value


def _loss_of_all(config: Config) -> Callable[[Unrolled, LossInput], Tensor]:
    if config.agent.value_distribution == "categorical":
        return _distributional
    loss = scalar_loss(config)

    def scalar(unrolled: Unrolled, batch: LossInput) -> Tensor:
        return loss(unrolled.network.support, unrolled.value_logits, batch.values)

    return scalar


def scalar_loss(config: Config) -> ScalarLoss:
    """Return the loss of a head against numbers: its support's own, or Huber's."""
    delta = config.learner.huber_delta
    if not delta:
        return _own

    def huber(support: ValueSupport, outputs: Tensor, values: Tensor) -> Tensor:
        assert isinstance(support, ScalarRegression)  # validated with the config
        return huber_loss(support, outputs, values, delta)

    return huber


def huber_loss(support: ScalarRegression, outputs: Tensor, values: Tensor, delta: float) -> Tensor:
    """Return d^2 / 2 for |d| <= delta, else delta (|d| - delta / 2), of d = output - h(value).

    With delta 1 and the identity as h this is the error clipping of DQN (Mnih et al., 2015,
    methods).

    Args:
        support: of the head.
        outputs: [..., 1].
        values: f32 [...], raw scale.
        delta: in transformed space.

    Returns:
        f32 [...].
    """
    errors = support.errors(outputs, values)
    return F.huber_loss(errors, torch.zeros_like(errors), reduction="none", delta=delta)


def priority_rule(config: Config) -> PriorityRule:
    """Return what makes the new priorities of a batch's slices."""
    return divergences if config.replay.priority == "kl" else value_errors


def divergences(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return KL(target || head) of the distributions at o[t], f32 [B], in nats.

    Rainbow's priorities (Hessel et al., 2018, section "The Integrated Agent").
    """
    assert batch.value_distributions is not None
    targets = batch.value_distributions[:, 0]
    entropies: Tensor = -torch.special.xlogy(targets, targets).sum(-1)
    losses = distribution_loss(unrolled.value_logits[:, 0], targets)
    return (losses - entropies).clamp(min=0.0)  # rounding may leave less than nothing


def _own(support: ValueSupport, outputs: Tensor, values: Tensor) -> Tensor:
    return support.loss(outputs, values)


def _distributional(unrolled: Unrolled, batch: LossInput) -> Tensor:
    assert batch.value_distributions is not None
    return distribution_loss(unrolled.value_logits, batch.value_distributions)

"""Action values trained towards what fresh searches found of each action (Q distillation).

A part of the loss: ``learner.action_value_coefficient``. The softmax loss is the amortisation loss
of SAVE (Hamrick et al., 2020, "Combining Q-learning and search with amortized value estimates").
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from efficientzero.config import Config
from learner.training.losses.loss_input import LossInput
from learner.training.losses.unrolled_loss import LossPart, Unrolled
from learner.training.losses.value_loss import ScalarLoss, scalar_loss


def action_value_distillation(config: Config) -> LossPart:
    """Return the part; its loss is 0 where there was no search."""
    learner, search = config.learner, config.search
    if learner.action_value_loss == "softmax":
        per_step = softmax_part(search.q_temperature)
    else:
        counts_visits = search.algorithm == "puct" and search.improved_policy == "algorithm"
        per_step = regression_part(scalar_loss(config), by_visits=counts_visits)
    return LossPart(
        "action_value", learner.action_value_coefficient, per_step, needs_action_values=True
    )


def regression_part(
    loss: ScalarLoss, *, by_visits: bool
) -> Callable[[Unrolled, LossInput], Tensor]:
    """Return what makes the mean loss of the visited actions.

    Args:
        loss: of one action value.
        by_visits: policies are shares of visits: an action counts by them; else all visited ones
            count alike.
    """

    def action_value(unrolled: Unrolled, batch: LossInput) -> Tensor:
        """Return sum_a w_a loss(Q(s, a), q_a) / sum_a w_a, [B, K + 1]."""
        logits, targets = _both(unrolled, batch)
        is_known = ~targets.isnan()
        weights = (batch.policies if by_visits else torch.ones_like(targets)) * is_known
        losses = loss(unrolled.network.support, logits, targets.nan_to_num(nan=0.0))
        tiny = torch.finfo(weights.dtype).tiny
        return (weights * losses).sum(-1) / weights.sum(-1).clamp(min=tiny)

    return action_value


def softmax_part(temperature: float) -> Callable[[Unrolled, LossInput], Tensor]:
    """Return what makes the cross-entropy of softmax(q / temperature) and softmax(Q / temperature).

    The targets name every action or none.
    """

    def action_value(unrolled: Unrolled, batch: LossInput) -> Tensor:
        """Return - sum_a softmax(q / tau)_a ln softmax(Q(s, .) / tau)_a, [B, K + 1]."""
        logits, targets = _both(unrolled, batch)
        values = unrolled.network.answer_rule.decode(logits)
        wanted = F.softmax(targets.nan_to_num(nan=0.0) / temperature, dim=-1)
        entropies = -(wanted * F.log_softmax(values / temperature, dim=-1)).sum(-1)
        return torch.where(targets.isnan().any(-1), 0.0, entropies)

    return action_value


def _both(unrolled: Unrolled, batch: LossInput) -> tuple[Tensor, Tensor]:
    """Return Q's logits [B, K + 1, A, bins] and its targets [B, K + 1, A]."""
    logits, targets = unrolled.action_value_logits, batch.action_value_targets
    assert logits is not None and targets is not None
    return logits, targets

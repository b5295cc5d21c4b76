"""The training loss and its parts."""

from learner.training.losses.continuous_policy import gaussian_numbers
from learner.training.losses.loss_input import LossInput, importance_weights
from learner.training.losses.parts import loss_parts
from learner.training.losses.unrolled_loss import (
    LossPart,
    LossTerms,
    Unrolled,
    compute_loss,
    parts_at,
    trained_value_logits,
    unroll,
)
from learner.training.losses.value_loss import priority_rule

__all__ = [
    "LossInput",
    "LossPart",
    "LossTerms",
    "Unrolled",
    "compute_loss",
    "gaussian_numbers",
    "importance_weights",
    "loss_parts",
    "parts_at",
    "priority_rule",
    "trained_value_logits",
    "unroll",
]

"""The training loss and its parts."""

from learner.training.losses.unrolled_loss import (
    LossInput,
    LossTerms,
    compute_loss,
    importance_weights,
    unroll,
)

__all__ = ["LossInput", "LossTerms", "compute_loss", "importance_weights", "unroll"]

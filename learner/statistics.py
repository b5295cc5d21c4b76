"""What the learner reports about a training batch, as one flat row of numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from efficientzero.schema import TrainingBatch
from learner.loss import LossInput, LossTerms


@torch.no_grad()
def training_statistics(
    train_step: int, batch: TrainingBatch, inputs: LossInput, terms: LossTerms
) -> Mapping[str, float]:
    """Return losses (unweighted sums over the unroll, batch mean), targets, entropies and ages."""
    policies = inputs.policies[:, 0]
    target_entropy = -(policies * policies.clamp_min(1e-12).log()).sum(1)
    weights = inputs.importance_weights
    values = {
        "learner/weighted_loss": terms.total,
        "learner/loss": terms.loss,
        "learner/policy_loss": terms.policy.sum(1).mean(),
        "learner/value_loss": terms.value.sum(1).mean(),
        "learner/value_prefix_loss": terms.value_prefix.sum(1).mean(),
        "learner/consistency_loss": terms.consistency.sum(1).mean(),
        "learner/policy_entropy": terms.policy_entropy.mean(),
        "learner/target_policy_entropy": target_entropy.mean(),
        "learner/value_mean": terms.predicted_values.mean(),
        "learner/target_value_mean": inputs.values[:, 0].mean(),
        "learner/value_error": terms.priorities.mean(),
        "learner/value_prefix_error": (
            (terms.predicted_value_prefixes - inputs.value_prefixes).abs() * inputs.mask
        ).mean(),
        "learner/importance_weight_ess_share": weights.sum() ** 2
        / (weights**2).sum()
        / len(weights),
        "learner/masked_share": 1.0 - inputs.mask.mean(),
    }
    row = {name: float(value) for name, value in values.items()}
    row["learner/sample_age_train_steps"] = float(train_step - batch.weights_versions.mean())
    row["learner/target_age_train_steps"] = float(train_step - batch.target_weights_versions.mean())
    return row

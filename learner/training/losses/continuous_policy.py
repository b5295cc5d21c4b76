"""The policy loss with continuous actions: densities of the sampled actions that a search weighed.

A part of the loss where ``EnvSpec.action_kind`` is continuous (Sampled MuZero, Hubert et al., 2021;
EfficientZero V2, Wang et al., 2024). ``policy_logits`` are then the outputs (m, s) of a squashed
Gaussian (``squashed_gaussian``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from efficientzero.config import LearnerConfig
from efficientzero.networks import squashed_gaussian
from learner.training.losses.loss_input import LossInput
from learner.training.losses.unrolled_loss import LossPart, Unrolled

_SATURATED = 0.99
"""Absolute mean action from which tanh has hardly any slope."""


def continuous_policy_parts(learner: LearnerConfig, action_size: int) -> tuple[LossPart, ...]:
    """Return the policy loss that ``learner`` chooses, and the entropy bonus if there is one.

    Args:
        learner: kind and coefficients.
        action_size: X. ``auto`` fits all sampled actions of one number, the best one of more.
    """
    kind = learner.continuous_policy_loss
    is_full = kind == "full" or (kind == "auto" and action_size == 1)
    per_step = all_actions if is_full else best_action
    parts: tuple[LossPart, ...] = (LossPart("policy", learner.policy_coefficient, per_step),)
    if learner.entropy_coefficient > 0:
        parts += (LossPart("negative_entropy", learner.entropy_coefficient, negative_entropy),)
    return parts


def all_actions(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return - sum_i pi'_i log pi(a_i), [B, K + 1]; 0 for a target of zeros."""
    assert batch.policy_actions is not None
    policy = squashed_gaussian.parameters(unrolled.policy_logits)
    return weighted_negative_log_prob(policy, batch.policy_actions, batch.policies)


def best_action(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return - log pi(a*) of the best action, [B, K + 1]; 0 where there is no target."""
    assert batch.best_actions is not None
    policy = squashed_gaussian.parameters(unrolled.policy_logits)
    exists = (batch.policies.sum(-1) > 0).float()
    return -exists * squashed_gaussian.log_prob(batch.best_actions, policy)


def negative_entropy(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return - H(pi), [B, K + 1]; its coefficient is a bonus for entropy. 0 without a target."""
    exists = (batch.policies.sum(-1) > 0).float()
    policy = squashed_gaussian.parameters(unrolled.policy_logits)
    return -exists * squashed_gaussian.entropy(policy)


def weighted_negative_log_prob(
    policy: squashed_gaussian.Gaussian, actions: Tensor, weights: Tensor
) -> Tensor:
    """Return - sum_i w_i log pi(a_i), f32 [...].

    Args:
        policy: [..., X].
        actions: f32 [..., W, X].
        weights: f32 [..., W].
    """
    of_slots = squashed_gaussian.Gaussian(*(parameter.unsqueeze(-2) for parameter in policy))
    return -(weights * squashed_gaussian.log_prob(actions, of_slots)).sum(-1)


def gaussian_numbers(batch: LossInput, policy_logits: Tensor) -> dict[str, Tensor]:
    """Return the metrics of policies over continuous actions at o[t], each f32 [].

    Args:
        batch: with the slots of the targets.
        policy_logits: the heads' outputs, f32 [B, K + 1, 2 X].
    """
    policy = squashed_gaussian.parameters(policy_logits[:, 0])  # [B, X]
    targets = batch.policies[:, 0]  # [B, W]
    has_target = targets.sum(-1) > 0
    entropies = -torch.special.xlogy(targets, targets).sum(-1)
    is_saturated = policy.mean.tanh().abs() > _SATURATED
    return {
        "policy_entropy": squashed_gaussian.entropy(policy).mean(),
        "target_policy_entropy": torch.where(has_target, entropies, 0.0).sum() / has_target.sum(),
        "policy_sigma_mean": policy.scale.mean(),
        "policy_sigma_min": policy.scale.min(),
        "action_saturation": is_saturated.float().mean(),
    }

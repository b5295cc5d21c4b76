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
from learner.training.losses.unrolled_loss import LossPart, LossTerms, Unrolled

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


def gaussian_numbers(batch: LossInput, terms: LossTerms) -> dict[str, Tensor]:
    """Return the metrics of policies over continuous actions, each f32 [].

    At o[t], but for the loss of each step, which stands for its error, and the log densities of
    the actions that were played.
    """
    policies = squashed_gaussian.parameters(terms.policy_logits)  # [B, K + 1, X]
    first = squashed_gaussian.Gaussian(policies.mean[:, 0], policies.scale[:, 0])
    targets = batch.policies[:, 0]  # [B, W]
    entropies = -torch.special.xlogy(targets, targets).sum(-1)
    numbers = {
        "policy_entropy": squashed_gaussian.entropy(first).mean(),
        "target_policy_entropy": _mean_where(entropies, targets.sum(-1) > 0),
        "policy_sigma_mean": first.scale.mean(),
        "policy_sigma_min": first.scale.min(),
        "action_saturation": (first.mean.tanh().abs() > _SATURATED).float().mean(),
    }
    has_target = (batch.policies.sum(-1) > 0) & (batch.reached > 0)
    for k in range(has_target.shape[1]):
        losses = terms.parts["policy"][:, k]
        numbers[f"policy_error_k{k}"] = _mean_where(losses, has_target[:, k])
    actions, exists = batch.continuous_actions, batch.step_mask > 0
    if actions is None or not actions.shape[1]:
        return numbers
    before = (parameter[:, : actions.shape[1]] for parameter in policies)
    found = squashed_gaussian.log_prob(actions, squashed_gaussian.Gaussian(*before))  # [B, K]
    return numbers | {
        "action_log_prob_max": torch.where(exists, found, -torch.inf).max(),
        "action_log_prob_mean": _mean_where(found, exists),
        "action_log_prob_min": torch.where(exists, found, torch.inf).min(),
    }


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean of the entries chosen; NaN if there are none."""
    return torch.where(where, values, 0.0).sum() / where.sum()

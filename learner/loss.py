"""The unrolled loss: a pure function of a network and a batch.

Called by the learner's step and by tests. Knows no process, no optimiser, no logging.

Gradient conventions are MuZero's (appendix G): the unrolled steps' losses count 1/K, and the
gradient that flows back through a dynamics call is halved. The reference scales differently
(everything by 1/5, and each latent's whole gradient by 1/2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from efficientzero.config import AgentConfig, LearnerConfig
from efficientzero.networks import EfficientZeroNet

_COSINE_EPSILON = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInput:
    """A training batch on the device."""

    root_observations: Tensor  # u8 or f32 [B, *observation] o[t]
    next_observations: Tensor  # u8 or f32 [B, K, *observation] o[t+1] .. o[t+K]
    actions: Tensor  # i64 [B, K]
    value_prefixes: Tensor  # f32 [B, K]
    values: Tensor  # f32 [B, K + 1]
    policies: Tensor  # f32 [B, K + 1, A]; all zero where there is no policy target
    mask: Tensor  # f32 [B, K] 1 where action t+k exists
    importance_weights: Tensor  # f32 [B]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """The loss and its parts; per-step parts are unweighted and masked."""

    total: Tensor  # f32 [] mean over the batch of importance weight * loss; what is minimised
    loss: Tensor  # f32 [] the same without importance weights
    policy: Tensor  # f32 [B, K + 1]
    value: Tensor  # f32 [B, K + 1]
    value_prefix: Tensor  # f32 [B, K]
    consistency: Tensor  # f32 [B, K] negative cosine; zeros when switched off
    predicted_values: Tensor  # f32 [B] raw scale, of o[t]
    predicted_value_prefixes: Tensor  # f32 [B, K] raw scale
    policy_entropy: Tensor  # f32 [B] of the policy head at o[t], nats
    priorities: Tensor  # f32 [B] |v(o[t]) - z[0]|


def scale_gradient(tensor: Tensor, factor: float) -> Tensor:
    """Return ``tensor``, whose gradient is multiplied by ``factor``."""
    return tensor * factor + tensor.detach() * (1.0 - factor)


def negative_cosine(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return minus the cosine of each row in -1..1, f32 [B] (SimSiam, equation 1)."""
    return -F.cosine_similarity(predictions.float(), targets.float(), dim=1, eps=_COSINE_EPSILON)


def compute_loss(
    network: EfficientZeroNet, batch: LossInput, *, agent: AgentConfig, learner: LearnerConfig
) -> LossTerms:
    """Unroll the model K steps from o[t] and compare it with the targets.

    Args:
        network: in training mode.
        batch: see LossInput; B and K are taken from ``actions``.
        agent: unroll and value-prefix settings.
        learner: coefficients.
    """
    support = network.support
    num_unroll_steps = batch.actions.shape[1]
    with_consistency = learner.consistency_coefficient > 0
    projections = (
        _target_projections(network, batch.next_observations) if with_consistency else None
    )

    root = network.initial_inference(batch.root_observations)
    latents, lstm_states = root.latents, network.initial_lstm_states(len(batch.actions))
    policy = [policy_loss(root.policy_logits, batch.policies[:, 0])]
    value = [support.cross_entropy(root.value_logits, batch.values[:, 0])]
    value_prefix, consistency, decoded_prefixes = [], [], []

    for k in range(num_unroll_steps):
        mask = batch.mask[:, k]
        step = network.recurrent_inference(
            scale_gradient(latents, 0.5), lstm_states, batch.actions[:, k]
        )
        latents, lstm_states = step.latents, step.lstm_states
        policy.append(mask * policy_loss(step.policy_logits, batch.policies[:, k + 1]))
        value.append(mask * support.cross_entropy(step.value_logits, batch.values[:, k + 1]))
        value_prefix.append(
            mask * support.cross_entropy(step.value_prefix_logits, batch.value_prefixes[:, k])
        )
        decoded_prefixes.append(support.decode(step.value_prefix_logits.detach()))
        if projections is not None:
            predictions = network.project(latents, with_predictor=True)
            consistency.append(mask * negative_cosine(predictions, projections[:, k]))
        if (k + 1) % agent.value_prefix_horizon == 0:
            lstm_states = torch.zeros_like(lstm_states)

    policy_terms, value_terms = torch.stack(policy, 1), torch.stack(value, 1)  # [B, K + 1]
    prefix_terms = torch.stack(value_prefix, 1)  # [B, K]
    consistency_terms = (
        torch.stack(consistency, 1) if consistency else torch.zeros_like(prefix_terms)
    )
    per_sample = (
        learner.policy_coefficient * _scaled_sum(policy_terms, num_unroll_steps)
        + learner.value_coefficient * _scaled_sum(value_terms, num_unroll_steps)
        + learner.value_prefix_coefficient * prefix_terms.sum(1) / num_unroll_steps
        + learner.consistency_coefficient * consistency_terms.sum(1) / num_unroll_steps
    )  # [B]
    with torch.no_grad():
        predicted_values = support.decode(root.value_logits)
        log_policy = F.log_softmax(root.policy_logits.float(), dim=1)
    return LossTerms(
        total=(batch.importance_weights * per_sample).mean(),
        loss=per_sample.mean(),
        policy=policy_terms,
        value=value_terms,
        value_prefix=prefix_terms,
        consistency=consistency_terms,
        predicted_values=predicted_values,
        predicted_value_prefixes=torch.stack(decoded_prefixes, 1),
        policy_entropy=-(log_policy.exp() * log_policy).sum(1),
        priorities=(predicted_values - batch.values[:, 0]).abs(),
    )


def policy_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each row, f32 [B]; zero for an all-zero target."""
    return -(targets * F.log_softmax(logits.float(), dim=1)).sum(1)


def importance_weights(probabilities: Tensor, table_sizes: Tensor, exponent: float) -> Tensor:
    """Return (N P)^-beta over its largest value in the batch, f32 [B] (PER, section 3.4)."""
    weights = (table_sizes * probabilities) ** -exponent
    return (weights / weights.max()).float()


def _scaled_sum(terms: Tensor, num_unroll_steps: int) -> Tensor:
    """Return root term + unrolled terms / K, f32 [B]."""
    return terms[:, 0] + terms[:, 1:].sum(1) / num_unroll_steps


@torch.no_grad()
def _target_projections(network: EfficientZeroNet, next_observations: Tensor) -> Tensor:
    """Return projections of the true next observations, [B, K, P]: the stop-gradient branch."""
    batch, steps = next_observations.shape[:2]
    latents = network.representation(next_observations.flatten(0, 1))
    projections = network.project(latents, with_predictor=False)
    return projections.view(batch, steps, -1)

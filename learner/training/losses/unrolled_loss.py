"""The unrolled loss: a pure function of a network and a batch.

Called by the learner's step and by tests. Knows no process, no optimiser, no logging.

Reported numbers are sums over the unroll; scaling acts on gradients only, in one of two ways.

* ``muzero`` (MuZero, appendix G): the gradient of the unrolled steps' losses counts 1/K, and the
  gradient that flows back into a dynamics call's input latent is halved.
* ``reference`` (EfficientZero's code): the gradient of the whole loss counts 1/K, and all gradient
  that arrives at a dynamics call's output latent is halved, that of its own heads included.

In both, step k's heads reach the encoder with 0.5^k. The LSTM's path is scaled in neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from efficientzero.config import (
    AgentConfig,
    LearnerConfig,
)
from efficientzero.networks import (
    EfficientZeroNet,
    InitialInference,
    RecurrentInference,
    node_answers,
)

_COSINE_EPSILON = 1e-5

GradientScaling = Literal["muzero", "reference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInput:
    """A training batch on the device."""

    root_observations: Tensor  # u8 or f32 [B, *observation] o[t]
    next_observations: Tensor | None  # the same [B, K, *observation] o[t+1] .. o[t+K]
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
    consistency: Tensor | None  # f32 [B, K] negative cosine; None when switched off
    priorities: Tensor  # f32 [B] |v(o[t]) - z[0]|, raw scale
    # For the statistics, without gradient:
    latents: Tensor  # f32 [B, *latent] of o[t]
    value_logits: Tensor  # f32 [B, K + 1, bins]
    value_prefix_logits: Tensor  # f32 [B, K, bins]
    policy_logits: Tensor  # f32 [B, K + 1, A]


def scale_gradient(tensor: Tensor, factor: float) -> Tensor:
    """Return ``tensor``, whose gradient is multiplied by ``factor``."""
    return tensor * factor + tensor.detach() * (1.0 - factor)


def negative_cosine(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return minus the cosine of each row in -1..1, f32 [B] (SimSiam, equation 1)."""
    return -F.cosine_similarity(predictions.float(), targets.float(), dim=1, eps=_COSINE_EPSILON)


def compute_loss(
    network: EfficientZeroNet,
    batch: LossInput,
    *,
    agent: AgentConfig,
    learner: LearnerConfig,
    gradient_scaling: GradientScaling = "muzero",
) -> LossTerms:
    """Unroll the model K steps from o[t] and compare it with the targets.

    A part whose coefficient is 0 is reported but has no gradient, not even one of zeros: weights
    that serve it alone stay as they are. The consistency part is not computed at all then.

    Args:
        network: in training mode.
        batch: see LossInput; B and K are taken from ``actions``.
        agent: unroll and value-prefix settings.
        learner: coefficients.
        gradient_scaling: see the top of this file.

    Raises:
        ValueError: a consistency loss is asked for without next observations.
    """
    support, with_consistency = network.support, learner.consistency_coefficient > 0
    targets = _target_projections(network, batch) if with_consistency else None
    root, steps = unroll(network, batch, agent=agent, gradient_scaling=gradient_scaling)
    value_logits = torch.stack([root.value_logits, *(step.value_logits for step in steps)], 1)
    policy_logits = torch.stack([root.policy_logits, *(step.policy_logits for step in steps)], 1)
    prefix_logits = torch.stack([step.value_prefix_logits for step in steps], 1)

    mask = torch.cat([torch.ones_like(batch.mask[:, :1]), batch.mask], 1)  # [B, K + 1]
    policy = mask * policy_loss(policy_logits, batch.policies)
    value = mask * support.loss(value_logits, batch.values)
    prefix = batch.mask * support.loss(prefix_logits, batch.value_prefixes)
    consistency = None
    policy_part = _weighted(policy, learner.policy_coefficient)
    value_part = _weighted(value, learner.value_coefficient)
    at_root = policy_part[:, 0] + value_part[:, 0]  # [B]
    unrolled = (
        policy_part[:, 1:].sum(1)
        + value_part[:, 1:].sum(1)
        + _weighted(prefix, learner.value_prefix_coefficient).sum(1)
    )
    if targets is not None:
        consistency = batch.mask * _consistency_loss(network, steps, targets)
        unrolled = unrolled + _weighted(consistency, learner.consistency_coefficient).sum(1)
    factor = 1.0 / len(steps)
    if gradient_scaling == "muzero":
        per_sample = at_root + scale_gradient(unrolled, factor)
    else:
        per_sample = scale_gradient(at_root + unrolled, factor)
    with torch.no_grad():
        values = node_answers(root, network.answer_rule).values
    return LossTerms(
        total=(batch.importance_weights * per_sample).mean(),
        loss=per_sample.detach().mean(),
        policy=policy.detach(),
        value=value.detach(),
        value_prefix=prefix.detach(),
        consistency=None if consistency is None else consistency.detach(),
        priorities=(values - batch.values[:, 0]).abs(),
        latents=root.latents.detach(),
        value_logits=value_logits.detach(),
        value_prefix_logits=prefix_logits.detach(),
        policy_logits=policy_logits.detach(),
    )


def policy_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each row [..., A], f32 [...]; zero for an all-zero target."""
    return -(targets * F.log_softmax(logits.float(), dim=-1)).sum(-1)


def importance_weights(probabilities: Tensor, table_sizes: Tensor, exponent: float) -> Tensor:
    """Return (N P)^-beta over its largest value in the batch, f32 [B] (PER, section 3.4)."""
    weights = (table_sizes * probabilities) ** -exponent
    return (weights / weights.max()).float()


def unroll(
    network: EfficientZeroNet,
    batch: LossInput,
    *,
    agent: AgentConfig,
    gradient_scaling: GradientScaling,
) -> tuple[InitialInference, list[RecurrentInference]]:
    """Return what the network says about o[t] and about each of the K steps from it."""
    root = network.initial_inference(batch.root_observations)
    latents, lstm_states = root.latents, network.initial_lstm_states(len(batch.actions))
    steps: list[RecurrentInference] = []
    for k in range(batch.actions.shape[1]):
        if k % agent.value_prefix_horizon == 0:
            lstm_states = torch.zeros_like(lstm_states)
        if gradient_scaling == "muzero":
            latents = scale_gradient(latents, 0.5)
        step = network.recurrent_inference(latents, lstm_states, batch.actions[:, k])
        latents, lstm_states = step.latents, step.lstm_states
        if gradient_scaling == "reference" and latents.requires_grad:
            # A hook sees the sum of what arrives from all users, the heads in the call included.
            latents.register_hook(_halved)  # type: ignore[no-untyped-call]
        steps.append(step)
    return root, steps


def _halved(gradient: Tensor) -> Tensor:
    return 0.5 * gradient


def _weighted(terms: Tensor, coefficient: float) -> Tensor:
    """Return the part of the loss; without a tie to the network where it does not count."""
    return coefficient * terms if coefficient > 0 else torch.zeros_like(terms)


@torch.no_grad()
def _target_projections(network: EfficientZeroNet, batch: LossInput) -> Tensor:
    """Return projections of the true next observations, [B, K, P]: the stop-gradient branch."""
    following = batch.next_observations
    if following is None:
        raise ValueError("next_observations: got None, wanted what the consistency loss compares")
    latents = network.representation(following.flatten(0, 1))
    projections = network.project(latents, with_predictor=False)
    return projections.view(*following.shape[:2], -1)


def _consistency_loss(
    network: EfficientZeroNet, steps: list[RecurrentInference], targets: Tensor
) -> Tensor:
    """Return the negative cosine of each step's latent and its target, f32 [B, K]."""
    cosines = [
        negative_cosine(network.project(step.latents, with_predictor=True), targets[:, k])
        for k, step in enumerate(steps)
    ]
    return torch.stack(cosines, 1)

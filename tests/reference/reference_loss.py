"""The loss a second time, in float64: loops over slices and steps, targets and scaling by hand.

Only the network's modules are shared with the implementation. Gradients are not computed but
measured: what an implementation keeps a gradient from is held at its value while weights move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from efficientzero.config.fields import Config
from efficientzero.networks import EfficientZeroNet
from learner.training.losses.unrolled_loss import LossInput

F64 = NDArray[np.float64]


class Held:
    """Remembers the value that each name had first and gives it back from then on."""

    def __init__(self) -> None:
        self._values: dict[str, Tensor] = {}

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        return self._values.setdefault(name, tensor.clone())


@dataclass(frozen=True)
class ReferenceLoss:
    """Parts [B, K + 1] or [B, K], unweighted and masked; the numbers made of them."""

    policy: F64
    value: F64
    value_prefix: F64
    consistency: F64
    auxiliary: F64
    loss: float
    total: float
    objective: float
    """The function whose slope, with what is held, the implementation's gradient must be."""


@torch.no_grad()
def reference_loss(
    network: EfficientZeroNet, batch: LossInput, config: Config, held: Held
) -> ReferenceLoss:
    """Return the loss of ``network`` in the mode that it is in, with float64 weights."""
    outputs = _outputs(network, batch, config, held)
    learner, steps = config.learner, batch.actions.shape[1]
    size = len(batch.actions)
    policy, value = np.zeros((size, steps + 1)), np.zeros((size, steps + 1))
    auxiliary = np.zeros((size, steps + 1))
    prefix, consistency = np.zeros((size, steps)), np.zeros((size, steps))
    loss = total = objective = 0.0
    for b in range(size):
        for k in range(steps + 1):
            if k > 0 and batch.mask[b, k - 1] == 0:
                continue
            policy[b, k] = _cross_entropy(outputs.policy[k][b], batch.policies[b, k].tolist())
            value[b, k] = _scalar_loss(outputs.value[k][b], float(batch.values[b, k]), config)
            for h in range(len(config.agent.auxiliary_discounts)):
                target = float(batch.auxiliary_values[b, h, k])
                auxiliary[b, k] += _scalar_loss(outputs.auxiliary[k][b, h], target, config)
            if k == 0:
                continue
            target = float(batch.value_prefixes[b, k - 1])
            prefix[b, k - 1] = _scalar_loss(outputs.prefix[k - 1][b], target, config)
            if outputs.online:
                one, other = outputs.online[k - 1][b], outputs.target[k - 1][b]
                consistency[b, k - 1] = (
                    -one @ other / math.sqrt(one @ one) / math.sqrt(other @ other)
                )
        at_root = (
            learner.policy_coefficient * policy[b, 0]
            + learner.value_coefficient * value[b, 0]
            + learner.auxiliary_value_coefficient * auxiliary[b, 0]
        )
        later = (
            learner.policy_coefficient * policy[b, 1:].sum()
            + learner.value_coefficient * value[b, 1:].sum()
            + learner.value_prefix_coefficient * prefix[b].sum()
            + learner.consistency_coefficient * consistency[b].sum()
            + learner.auxiliary_value_coefficient * auxiliary[b, 1:].sum()
        )
        weight = float(batch.importance_weights[b])
        root_share = 1.0 if config.compat.gradient_scaling == "muzero" else 1.0 / steps
        loss += (at_root + later) / size
        total += weight * (at_root + later) / size
        objective += weight * (root_share * at_root + later / steps) / size
    return ReferenceLoss(policy, value, prefix, consistency, auxiliary, loss, total, objective)


@dataclass(frozen=True)
class _Outputs:
    """What the network says, one array [B, ...] per step."""

    value: list[F64]
    policy: list[F64]
    prefix: list[F64]
    online: list[F64]
    target: list[F64]
    auxiliary: list[F64]


def _outputs(network: EfficientZeroNet, batch: LossInput, config: Config, held: Held) -> _Outputs:
    said = _Outputs([], [], [], [], [], [])
    is_muzero = config.compat.gradient_scaling == "muzero"
    latents = network.representation(batch.root_observations)
    states = torch.zeros(len(latents), 2, network.lstm_hidden_size, dtype=torch.float64)
    for k in range(batch.actions.shape[1] + 1):
        if k > 0:
            if is_muzero:
                latents = 0.5 * latents + 0.5 * held(f"input {k}", latents)
            latents = network.dynamics(latents, batch.actions[:, k - 1])
            if not is_muzero:
                latents = 0.5 * latents + 0.5 * held(f"output {k}", latents)
            prefix, states = network.value_prefix_head(latents, states)
            said.prefix.append(prefix.numpy())
            if k % config.agent.value_prefix_horizon == 0:
                states = torch.zeros_like(states)
            if config.learner.consistency_coefficient:
                online = network.predictor(network.projector(latents.flatten(1)))
                said.online.append(online.numpy())
        value, policy, *others = network.prediction(latents)
        said.auxiliary.extend(other.numpy() for other in others)
        said.value.append(value.numpy())
        said.policy.append(policy.numpy())
    if config.learner.consistency_coefficient:
        # All steps at once, because batch norm is over all of them.
        following = network.representation(batch.next_observations.flatten(0, 1))
        projections = held("targets", network.projector(following.flatten(1)))
        by_step = projections.view(*batch.actions.shape, -1).transpose(0, 1)
        said.target.extend(by_step.numpy())
    return said


def _scalar_loss(outputs: F64, value: float, config: Config) -> float:
    transformed = math.copysign(math.sqrt(abs(value) + 1) - 1, value) + 0.001 * value
    if not config.network.categorical_values:
        return 0.5 * (float(outputs[0]) - transformed) ** 2
    bound = config.network.support_bound
    place = min(max(transformed, -bound), bound) + bound
    low = math.floor(place)
    two_hot = [0.0] * (2 * bound + 1)
    two_hot[low] = 1.0 - (place - low)
    if place > low:
        two_hot[low + 1] = place - low
    return _cross_entropy(outputs, two_hot)


def _cross_entropy(logits: F64, target: list[float]) -> float:
    norm = math.log(sum(math.exp(logit) for logit in logits))
    return sum(share * (norm - logit) for share, logit in zip(target, logits, strict=True))

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

from efficientzero.config import Config, has_action_values
from efficientzero.networks import EfficientZeroNet
from learner.training.losses.loss_input import LossInput

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
    reconstruction: F64
    auxiliary: F64
    action_value: F64
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
    is_nce = config.learner.consistency == "nce"
    learner, steps = config.learner, config.agent.num_unroll_steps
    by_action = config.agent.value_function == "action"
    size = len(batch.actions)
    policy, value = np.zeros((size, steps + 1)), np.zeros((size, steps + 1))
    auxiliary = np.zeros((size, steps + 1))
    prefix, consistency = np.zeros((size, steps)), np.zeros((size, steps))
    pixels, distilled = np.zeros((size, steps + 1)), np.zeros((size, steps + 1))
    loss = total = objective = 0.0
    for b in range(size):
        for k in range(steps + 1):
            if k > 0 and batch.mask[b, k - 1] == 0:
                continue
            policy[b, k] = _cross_entropy(outputs.policy[k][b], batch.policies[b, k].tolist())
            if not by_action:
                value[b, k] = _value_loss(outputs.value[k][b], float(batch.values[b, k]), config)
            elif batch.mask[b, k]:
                of_action = outputs.value[k][b, int(batch.actions[b, k])]
                value[b, k] = _value_loss(of_action, float(batch.values[b, k]), config)
            distilled[b, k] = _distillation(outputs, batch, b, k, config)
            if outputs.frames:
                pixels[b, k] = _frame_error(outputs.frames[k][b], _newest(network, batch, b, k))
            auxiliary[b, k] = sum(
                _scalar_loss(
                    outputs.auxiliary[k][b, h], float(batch.auxiliary_values[b, h, k]), config
                )
                for h in range(len(config.agent.auxiliary_discounts))
            )
            if k == 0:
                continue
            target = float(batch.value_prefixes[b, k - 1])
            prefix[b, k - 1] = _scalar_loss(outputs.prefix[k - 1][b], target, config)
            if outputs.online and is_nce:
                consistency[b, k - 1] = _info_nce(outputs, batch, b, k - 1, config)
            elif outputs.online:
                consistency[b, k - 1] = -_cosine(outputs.online[k - 1][b], outputs.target[k - 1][b])
        at_root = (
            learner.policy_coefficient * policy[b, 0]
            + learner.value_coefficient * value[b, 0]
            + learner.auxiliary_value_coefficient * auxiliary[b, 0]
            + learner.reconstruction_coefficient * pixels[b, 0]
            + learner.action_value_coefficient * distilled[b, 0]
        )
        later = (
            learner.policy_coefficient * policy[b, 1:].sum()
            + learner.value_coefficient * value[b, 1:].sum()
            + learner.value_prefix_coefficient * prefix[b].sum()
            + learner.consistency_coefficient * consistency[b].sum()
            + learner.auxiliary_value_coefficient * auxiliary[b, 1:].sum()
            + learner.reconstruction_coefficient * pixels[b, 1:].sum()
            + learner.action_value_coefficient * distilled[b, 1:].sum()
        )
        weight = float(batch.importance_weights[b])
        root_share = 1.0 if config.compat.gradient_scaling == "muzero" else 1.0 / max(1, steps)
        loss += (at_root + later) / size
        total += weight * (at_root + later) / size
        objective += weight * (root_share * at_root + later / max(1, steps)) / size
    return ReferenceLoss(
        policy, value, prefix, consistency, pixels, auxiliary, distilled, loss, total, objective
    )


@dataclass(frozen=True)
class _Outputs:
    """What the network says, one array [B, ...] per step."""

    value: list[F64]  # of actions [B, A, bins] where these are trained
    policy: list[F64]
    prefix: list[F64]
    online: list[F64]
    target: list[F64]
    frames: list[F64]
    auxiliary: list[F64]
    action_values: list[F64]  # [B, A, bins] where there is such a head


def _outputs(network: EfficientZeroNet, batch: LossInput, config: Config, held: Held) -> _Outputs:
    said = _Outputs([], [], [], [], [], [], [], [])
    latents_of_all: list[Tensor] = []
    is_muzero = config.compat.gradient_scaling == "muzero"
    latents = network.representation(batch.root_observations)
    states = torch.zeros(len(latents), 2, network.lstm_hidden_size, dtype=torch.float64)
    for k in range(config.agent.num_unroll_steps + 1):
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
        latents_of_all.append(latents)
        value, policy, *others = network.prediction(latents)
        by_action = config.agent.value_function == "action"
        if has_action_values(config):
            said.action_values.append(others.pop(0).numpy())
        said.value.append(said.action_values[-1] if by_action else value.numpy())
        said.auxiliary.extend(other.numpy() for other in others)
        said.policy.append(policy.numpy())
    if config.learner.reconstruction_coefficient:
        frames = network.decoder(torch.cat(latents_of_all))  # batch norm is over all steps
        said.frames.extend(frames.view(len(latents_of_all), len(latents), -1).numpy())
    if config.learner.consistency_coefficient:
        projections = _targets(network, batch, config, held)
        by_step = projections.view(*batch.value_prefixes.shape, -1).transpose(0, 1)
        said.target.extend(by_step.numpy())
    return said


def _distillation(said: _Outputs, batch: LossInput, b: int, k: int, config: Config) -> float:
    """Return the loss of all actions' values at step ``k`` of ``b`` against what a search found."""
    if config.learner.action_value_coefficient == 0:
        return 0.0
    outputs, targets = said.action_values[k][b], batch.action_value_targets[b, k].tolist()
    known = [a for a, target in enumerate(targets) if not math.isnan(target)]
    if not known:
        return 0.0
    if config.learner.action_value_loss == "softmax":
        tau = config.search.q_temperature
        exps = [math.exp(target / tau) for target in targets]
        values = np.array([_decoded(logits, config) / tau for logits in outputs])
        return _cross_entropy(values, [exp / sum(exps) for exp in exps])
    by_visits = config.search.improved_policy == "algorithm"
    weights = {a: float(batch.policies[b, k, a]) if by_visits else 1.0 for a in known}
    if sum(weights.values()) == 0:  # past the end
        return 0.0
    losses = sum(weights[a] * _value_loss(outputs[a], targets[a], config) for a in known)
    return losses / sum(weights.values())


def _decoded(outputs: F64, config: Config) -> float:
    """Return the number on raw scale that the logits [bins] of the default support stand for."""
    bound = config.network.support_bound
    shares = np.exp(outputs - outputs.max())
    mean = float(shares @ np.linspace(-bound, bound, 2 * bound + 1) / shares.sum())
    root = (math.sqrt(1 + 0.004 * (abs(mean) + 1.001)) - 1) / 0.002
    return math.copysign(root**2 - 1, mean)


def _newest(network: EfficientZeroNet, batch: LossInput, b: int, k: int) -> list[float]:
    """Return the entries of the newest frame of o[t+k], as the encoder takes them."""
    seen = batch.root_observations[b] if k == 0 else batch.next_observations[b, k - 1]
    spec = network.spec
    newest = seen[(spec.num_stacked_frames - 1) * spec.frame_shape[0] :].flatten().tolist()
    if spec.is_image:
        return [number / 255 for number in newest]
    return [math.copysign(math.log(1 + abs(number)), number) for number in newest]


def _frame_error(decoded: F64, frame: list[float]) -> float:
    squares = [(got - wanted) ** 2 for got, wanted in zip(decoded, frame, strict=True)]
    return sum(squares) / len(squares)


def _targets(network: EfficientZeroNet, batch: LossInput, config: Config, held: Held) -> Tensor:
    """Return the projections of all true next observations; batch norm is over all of them."""
    kind, encoder, projector = config.learner.consistency, network.representation, network.projector
    if kind == "spr":
        encoder, projector = network.momentum_representation, network.momentum_projector
    elif kind == "nce":
        projector = network.contrast_projector
    projections = projector(encoder(batch.next_observations.flatten(0, 1)).flatten(1))
    return projections if kind == "nce" else held("targets", projections)


def _cosine(one: F64, other: F64) -> float:
    return float(one @ other / math.sqrt(one @ one) / math.sqrt(other @ other))


def _info_nce(outputs: _Outputs, batch: LossInput, b: int, k: int, config: Config) -> float:
    """Return the mean of both directions for prediction and projection of step ``k`` of ``b``."""
    learner, losses = config.learner, []
    for anchors, others in ((outputs.online, outputs.target), (outputs.target, outputs.online)):
        shares = []
        for c in range(len(batch.mask)):
            for j in range(batch.value_prefixes.shape[1]):
                is_negative = c != b or (learner.nce_same_episode_negatives and j != k)
                if batch.mask[c, j] and (is_negative or (c, j) == (b, k)):
                    cosine = _cosine(anchors[k][b], others[j][c])
                    shares.append(math.exp(cosine / learner.nce_temperature))
        own = math.exp(_cosine(anchors[k][b], others[k][b]) / learner.nce_temperature)
        losses.append(-math.log(own / sum(shares)))
    return sum(losses) / 2


def _value_loss(outputs: F64, value: float, config: Config) -> float:
    """Return the loss of a value head: Huber's, if the config has a delta."""
    delta = config.learner.huber_delta
    if delta == 0:
        return _scalar_loss(outputs, value, config)
    error = abs(float(outputs[0]) - _transformed(value, config))
    return 0.5 * error**2 if error <= delta else delta * error - 0.5 * delta**2


def _transformed(value: float, config: Config) -> float:
    if config.network.value_transform == "identity":
        return value
    return math.copysign(math.sqrt(abs(value) + 1) - 1, value) + 0.001 * value


def _scalar_loss(outputs: F64, value: float, config: Config) -> float:
    transformed = _transformed(value, config)
    if not config.network.categorical_values:
        return 0.5 * (float(outputs[0]) - transformed) ** 2
    bound = config.network.support_bound
    num_bins = config.network.support_bins or 2 * bound + 1
    place = (min(max(transformed, -bound), bound) + bound) * (num_bins - 1) / (2 * bound)
    low = math.floor(place)
    two_hot = [0.0] * num_bins
    two_hot[low] = 1.0 - (place - low)
    if place > low:
        two_hot[low + 1] = place - low
    return _cross_entropy(outputs, two_hot)


def _cross_entropy(logits: F64, target: list[float]) -> float:
    norm = math.log(sum(math.exp(logit) for logit in logits))
    return sum(share * (norm - logit) for share, logit in zip(target, logits, strict=True))

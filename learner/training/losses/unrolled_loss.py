"""The unrolled loss: a pure function of a network, a batch and the parts that add up to it.

Called by the learner's step and by tests. Independent of processes, optimisers and logging, and of
which parts there are: ``parts`` lists them.

Reported numbers are sums over the unroll; scaling acts on gradients only, in one of two ways.

* ``muzero`` (MuZero, appendix G): the gradient of the unrolled steps' losses counts 1/K, and the
  gradient that flows back into a dynamics call's input latent is halved.
* ``reference`` (EfficientZero's code): the gradient of the whole loss counts 1/K, and all gradient
  that arrives at a dynamics call's output latent is halved, including that of the step's heads.

In both, step k's heads reach the encoder with 0.5^k. The LSTM's path is scaled in neither.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from efficientzero.config import AgentConfig
from efficientzero.networks import EfficientZeroNet, InitialInference, RecurrentInference
from learner.training.losses.loss_input import LossInput

GradientScaling = Literal["muzero", "reference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """The loss and its parts."""

    total: Tensor  # f32 [] mean over the batch of importance weight * loss; minimised
    loss: Tensor  # f32 [] the same without importance weights
    parts: Mapping[str, Tensor]  # f32 [B, K + 1] or [B, K] each: unweighted, masked, no gradient
    priorities: Tensor  # f32 [B] |v(o[t]) - z[0]|, raw scale, or what ``priority`` returns
    value_targets: Tensor  # f32 [B, K + 1] z
    # For the statistics, without gradient:
    latents: Tensor  # f32 [B, *latent] of o[t]
    value_logits: Tensor  # f32 [B, K + 1, bins] as in ``Unrolled``
    value_prefix_logits: Tensor  # f32 [B, K, bins]
    policy_logits: Tensor  # f32 [B, K + 1, A], or [B, K + 1, 2 X] of continuous actions


class Unrolled(NamedTuple):
    """The network's outputs for a batch: the input of the loss parts."""

    network: EfficientZeroNet
    latents: Sequence[Tensor]  # K + 1 times f32 [B, *latent], of o[t] first
    value_logits: Tensor  # f32 [B, K + 1, bins] of what the value loss trains: V(s) or Q(s, a)
    policy_logits: Tensor  # f32 [B, K + 1, A], or [B, K + 1, 2 X] of continuous actions
    value_prefix_logits: Tensor  # f32 [B, K, bins]
    next_latents: Tensor | None
    """f32 [B, K, *latent] of the true o[t+1] .. o[t+K], no gradient; None if no part needs them."""
    auxiliary_value_logits: Tensor | None = None
    """f32 [B, K + 1, H, bins]; None: the network has no such head."""
    action_value_logits: Tensor | None = None
    """f32 [B, K + 1, A, bins]; None if no part needs them."""


PriorityRule = Callable[[Unrolled, LossInput], Tensor]
"""Returns the new priorities of a batch's slices, f32 [B], at least 0."""


class LossPart(NamedTuple):
    """One part of the loss."""

    name: str
    """Key in ``LossTerms.parts``, and the metric ``learner/<name>_loss``."""
    coefficient: float
    """Weight in the loss. 0: the part is reported but not trained on."""
    per_step: Callable[[Unrolled, LossInput], Tensor]
    """Returns the loss of each step, f32 [B, K + 1] with o[t] first, or [B, K] without it.

    Steps past the end of an episode are masked by ``compute_loss``."""
    needs_next_observations: bool = False
    """Whether it reads ``LossInput.next_observations``, or what is made of them."""
    needs_next_latents: bool = False
    """Whether it reads ``Unrolled.next_latents``; needs the next observations, too."""
    needs_action_values: bool = False
    """Whether it reads ``Unrolled.action_value_logits``."""
    decay_train_steps: int = 0
    """Train_steps in which the coefficient falls linearly to 0; from then on the part is left out.
    0: the coefficient stays."""
    after_update: Callable[[EfficientZeroNet, Tensor], None] | None = None
    """Called after each step of the optimiser with the network and whether the step was skipped,
    bool [] on the device; for weights that follow the trained ones."""


def parts_at(parts: Sequence[LossPart], train_step: int) -> Sequence[LossPart]:
    """Return the parts with their coefficients at ``train_step``, less those that have ended."""
    return [
        part._replace(coefficient=part.coefficient * (1.0 - train_step / part.decay_train_steps))
        if part.decay_train_steps
        else part
        for part in parts
        if not part.decay_train_steps or train_step < part.decay_train_steps
    ]


def scale_gradient(tensor: Tensor, factor: float) -> Tensor:
    """Return ``tensor``, whose gradient is multiplied by ``factor``."""
    return tensor * factor + tensor.detach() * (1.0 - factor)


def compute_loss(
    network: EfficientZeroNet,
    batch: LossInput,
    parts: Sequence[LossPart],
    *,
    agent: AgentConfig,
    gradient_scaling: GradientScaling = "muzero",
    priority: PriorityRule | None = None,
) -> LossTerms:
    """Unroll the model K steps from o[t] and add up the parts, in their order.

    A part whose coefficient is 0 has no gradient, not even a zero one: weights used by it alone
    do not change.

    Args:
        network: in training mode.
        batch: see LossInput.
        parts: of the loss, at least one with a column for o[t]. The order decides rounding.
        agent: unroll and value-prefix settings.
        gradient_scaling: see the top of this file.
        priority: of the slices; default ``value_errors``.

    Raises:
        ValueError: a part needs next observations and ``batch`` has none.
    """
    needs_next = any(part.needs_next_latents for part in parts)
    next_latents = _next_latents(network, batch) if needs_next else None
    root, steps = unroll(network, batch, agent=agent, gradient_scaling=gradient_scaling)
    unrolled = Unrolled(
        network=network,
        latents=[root.latents, *(step.latents for step in steps)],
        value_logits=trained_value_logits(network, batch, root, steps),
        policy_logits=torch.stack([root.policy_logits, *(s.policy_logits for s in steps)], 1),
        value_prefix_logits=(
            torch.stack([step.value_prefix_logits for step in steps], 1)
            if steps
            else root.value_logits.new_zeros(len(batch.actions), 0, root.value_logits.shape[1])
        ),
        next_latents=next_latents,
        auxiliary_value_logits=_auxiliary_value_logits([root, *steps]),
        action_value_logits=(
            _action_value_logits([root, *steps])
            if any(part.needs_action_values for part in parts)
            else None
        ),
    )
    reached, step_mask = batch.reached, batch.step_mask
    reported: dict[str, Tensor] = {}
    at_root: list[Tensor] = []
    later: list[Tensor] = []
    for part in parts:
        terms = part.per_step(unrolled, batch)
        has_root = terms.shape[1] > len(steps)
        terms = (reached if has_root else step_mask) * terms
        reported[part.name] = terms.detach()
        weighted = _weighted(terms, part.coefficient)
        if has_root:
            at_root.append(weighted[:, 0])  # [B]
            weighted = weighted[:, 1:]
        later.append(weighted.sum(1))
    root_loss = functools.reduce(operator.add, at_root)
    unrolled_loss = functools.reduce(operator.add, later)
    factor = 1.0 / max(1, len(steps))
    if gradient_scaling == "muzero":
        per_sample = root_loss + scale_gradient(unrolled_loss, factor)
    else:
        per_sample = scale_gradient(root_loss + unrolled_loss, factor)
    with torch.no_grad():
        priorities = (priority or value_errors)(unrolled, batch)
    return LossTerms(
        total=(batch.importance_weights * per_sample).mean(),
        loss=per_sample.detach().mean(),
        parts=reported,
        priorities=priorities.detach(),
        value_targets=batch.values,
        latents=root.latents.detach(),
        value_logits=unrolled.value_logits.detach(),
        value_prefix_logits=unrolled.value_prefix_logits.detach(),
        policy_logits=unrolled.policy_logits.detach(),
    )


def value_errors(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return |v(o[t]) - z[0]|, f32 [B], raw scale (PER, section 3.3)."""
    values = unrolled.network.answer_rule.decode(unrolled.value_logits[:, 0])
    # Detached: the value may be a view of the outputs, which keeps their gradient.
    return (values.detach() - batch.values[:, 0]).abs()


def unroll(
    network: EfficientZeroNet,
    batch: LossInput,
    *,
    agent: AgentConfig,
    gradient_scaling: GradientScaling,
) -> tuple[InitialInference, list[RecurrentInference]]:
    """Return the network's outputs for o[t] and for each of the K steps from it."""
    root = network.initial_inference(batch.root_observations)
    latents, lstm_states = root.latents, network.initial_lstm_states(len(batch.actions))
    steps: list[RecurrentInference] = []
    for k in range(batch.num_unroll_steps):
        if k % agent.value_prefix_horizon == 0:
            lstm_states = torch.zeros_like(lstm_states)
        if gradient_scaling == "muzero":
            latents = scale_gradient(latents, 0.5)
        step = network.recurrent_inference(latents, lstm_states, batch.taken_actions[:, k])
        latents, lstm_states = step.latents, step.lstm_states
        if gradient_scaling == "reference" and latents.requires_grad:
            # A hook sees the sum of the gradients of all users, including the heads in the call.
            latents.register_hook(_halved)  # type: ignore[no-untyped-call]
        steps.append(step)
    return root, steps


def _auxiliary_value_logits(
    nodes: Sequence[InitialInference | RecurrentInference],
) -> Tensor | None:
    logits = [n.auxiliary_value_logits for n in nodes if n.auxiliary_value_logits is not None]
    return torch.stack(logits, 1) if logits else None


def trained_value_logits(
    network: EfficientZeroNet,
    batch: LossInput,
    root: InitialInference,
    steps: Sequence[RecurrentInference],
) -> Tensor:
    """Return the logits of V(o[t + k]), or of Q(o[t + k], a[t + k]), f32 [B, K + 1, bins]."""
    nodes: list[InitialInference | RecurrentInference] = [root, *steps]
    if network.answer_rule.value == "state":
        return torch.stack([node.value_logits for node in nodes], 1)
    taken = []
    for k, node in enumerate(nodes):
        logits = node.action_value_logits  # [B, A, bins]
        assert logits is not None
        index = batch.actions[:, k, None, None].expand(-1, 1, logits.shape[2])
        taken.append(logits.gather(1, index).squeeze(1))
    return torch.stack(taken, 1)


def _action_value_logits(nodes: Sequence[InitialInference | RecurrentInference]) -> Tensor:
    """Return the logits of Q(o[t + k], .), f32 [B, K + 1, A, bins]."""
    logits = [node.action_value_logits for node in nodes]
    return torch.stack([each for each in logits if each is not None], 1)


def _halved(gradient: Tensor) -> Tensor:
    return 0.5 * gradient


def _weighted(terms: Tensor, coefficient: float) -> Tensor:
    """Return the part's loss; detached from the network if its coefficient is 0."""
    return coefficient * terms if coefficient > 0 else torch.zeros_like(terms)


@torch.no_grad()
def _next_latents(network: EfficientZeroNet, batch: LossInput) -> Tensor:
    """Return the latents of the true next observations, [B, K, *latent].

    Before the unroll: batch norm's running statistics depend on the order of the calls.
    """
    following = batch.next_observations
    if following is None:
        raise ValueError("next_observations: got None, wanted what a part of the loss looks at")
    latents: Tensor = network.representation(following.flatten(0, 1))
    return latents.view(*following.shape[:2], *latents.shape[1:])

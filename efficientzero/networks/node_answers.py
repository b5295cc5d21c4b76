"""Decodes a network's outputs into the numbers that its users work with.

Used by searches, value targets, the loss's priorities and the learner's statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor


class NodeOutputs(Protocol):
    """The network's outputs for states: at roots, after steps, or over a whole unroll."""

    @property
    def value_logits(self) -> Tensor:
        """[..., bins]."""

    @property
    def policy_logits(self) -> Tensor:
        """[..., A]."""

    @property
    def action_value_logits(self) -> Tensor | None:
        """[..., A, bins]; None: the network has no such head."""

    @property
    def auxiliary_value_logits(self) -> Tensor | None:
        """[..., H, bins]; None: the network has no such head."""


class StepOutputs(NodeOutputs, Protocol):
    """The network's outputs for steps and for the states that follow."""

    @property
    def value_prefix_logits(self) -> Tensor:
        """[..., bins]."""


class Support(Protocol):
    """Turns the outputs of a head into numbers; see ``supports``."""

    def decode(self, logits: Tensor) -> Tensor:
        """Return raw values f32 [...] of logits [..., bins]."""

    def decode_into(self, logits: Tensor, values: Tensor) -> None:
        """Write them to ``values``."""


class NodeAnswers(NamedTuple):
    """Decoded outputs for states, used by trees and targets."""

    values: Tensor  # f32 [...], raw scale
    prior_logits: Tensor  # f32 [..., W]


class StepAnswers(NamedTuple):
    """Decoded outputs of one simulation of B trees, in the order in which they are transferred."""

    value_prefixes: Tensor  # f32 [B], raw scale, of the path up to the node
    values: Tensor  # f32 [B], raw scale
    prior_logits: Tensor  # f32 [B, W]

    @staticmethod
    def size(batch_size: int, policy_width: int) -> int:
        """Return how many numbers they are: 2 * B + B * W."""
        return batch_size * (2 + policy_width)

    @classmethod
    def within(cls, numbers: Tensor, policy_width: int) -> StepAnswers:
        """Return views of ``numbers``, f32 [2 * B + B * W]."""
        batch = len(numbers) // (2 + policy_width)
        prefixes, values, logits = torch.split(numbers, [batch, batch, batch * policy_width])
        return cls(prefixes, values, logits.view(batch, policy_width))

    def joined(self) -> Tensor:
        """Return them as one tensor f32 [2 * B + B * W]."""
        return torch.cat((self.value_prefixes, self.values, self.prior_logits.flatten()))


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """Which outputs count as values and as priors, and how they become numbers."""

    support: Support
    value: Literal["state", "max_action"] = "state"
    """What a state is worth: V(s), or the largest Q(s, a)."""
    horizon: int = 0
    """0: values are the value head's; h: those of the h-th auxiliary head."""
    other_weight: float = 0.0
    """Of the value head's values, which are added to those of another horizon."""
    q_temperature: float | None = None
    """None: priors are the policy head's; else softmax(Q(s, .) / this)."""

    def decode(self, logits: Tensor) -> Tensor:
        """Return the numbers f32 [...], raw scale, of one kind of logits [..., bins]."""
        return self.support.decode(logits)

    def values(self, said: NodeOutputs) -> Tensor:
        """Return values f32 [...], raw scale."""
        if self.value == "max_action":
            return self.action_values(said).amax(-1)
        if not self.horizon:
            return self.support.decode(said.value_logits)
        values = self.support.decode(_auxiliary(said)[..., self.horizon - 1, :])
        if self.other_weight:
            values = values + self.other_weight * self.support.decode(said.value_logits)
        return values

    def horizon_values(self, said: NodeOutputs) -> Tensor:
        """Return values of all horizons, f32 [..., 1 + H], raw scale; the value head's first."""
        own = said.value_logits.unsqueeze(-2)
        return self.support.decode(torch.cat([own, _auxiliary(said)], dim=-2))

    def policies(self, said: NodeOutputs) -> Tensor:
        """Return the policy head's probabilities, f32 [..., W], whatever priors are."""
        return torch.softmax(said.policy_logits.float(), dim=-1)

    def action_values(self, said: NodeOutputs) -> Tensor:
        """Return Q(s, a) of every action, f32 [..., A], raw scale.

        Raises:
            ValueError: the network has no head for them.
        """
        if said.action_value_logits is None:
            raise ValueError("action values: the network has none (agent.value_function is state)")
        return self.support.decode(said.action_value_logits)

    def value_prefixes(self, said: StepOutputs) -> Tensor:
        """Return value prefixes f32 [...], raw scale."""
        return self.support.decode(said.value_prefix_logits)

    def write_step(self, said: StepOutputs, answers: StepAnswers) -> None:
        """Write what ``step_answers`` returns into the tensors of ``answers``."""
        self.support.decode_into(said.value_prefix_logits, answers.value_prefixes)
        if self.q_temperature is not None:
            values, prior_logits = node_answers(said, self)
            answers.values.copy_(values)
            answers.prior_logits.copy_(prior_logits)
            return
        if self.value == "state" and not self.horizon:
            self.support.decode_into(said.value_logits, answers.values)
        else:
            answers.values.copy_(self.values(said))
        answers.prior_logits.copy_(said.policy_logits)


def _auxiliary(said: NodeOutputs) -> Tensor:
    if said.auxiliary_value_logits is None:
        raise ValueError("auxiliary values: the network has none, wanted agent.auxiliary_discounts")
    return said.auxiliary_value_logits


def node_answers(said: NodeOutputs, rule: AnswerRule) -> NodeAnswers:
    """Return the values and prior logits of states."""
    if rule.q_temperature is None:
        return NodeAnswers(rule.values(said), said.policy_logits.float())
    q = rule.action_values(said)
    values = q.amax(-1) if rule.value == "max_action" else rule.values(said)
    return NodeAnswers(values, q / rule.q_temperature)


def step_answers(said: StepOutputs, rule: AnswerRule) -> StepAnswers:
    """Return the decoded outputs ``said`` for trees."""
    return StepAnswers(rule.value_prefixes(said), *node_answers(said, rule))

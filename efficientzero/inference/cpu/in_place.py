"""One simulation on a CPU without copies: parents are read, and nodes written, where they lie.

Used by ``inference`` for networks whose layers can do so. Half of a search's own time was gathering
parents from pools that no cache holds, and copying what the network answered into them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientzero.inference.cpu.folded_dynamics import FoldedDynamics
from efficientzero.inference.cpu.folded_layers import PackedLstmCell
from efficientzero.inference.graph_capture import traced
from efficientzero.inference.node_pools import (
    ACTIONS,
    KEEPS_LSTM,
    NUM_INDEX_ROWS,
    PARENTS,
    NodePools,
    Rows,
)
from efficientzero.networks import EfficientZeroNet, StepAnswers
from efficientzero.schema import PolicyShape


class Logits(NamedTuple):
    """The network's outputs for new nodes."""

    value_prefix_logits: Tensor  # f32 [B, bins]
    value_logits: Tensor  # f32 [B, bins]
    policy_logits: Tensor  # f32 [B, A]
    action_value_logits: Tensor | None = None  # f32 [B, A, bins]; None: there is no such head
    auxiliary_value_logits: Tensor | None = None  # f32 [B, H, bins]; None: no such head


@runtime_checkable
class InPlaceNetwork(Protocol):
    """A network that itself knows how to add nodes to pools."""

    def recurrent_inference_into(self, pools: InPlacePools, indices: Tensor, node: int) -> Logits:
        """Read the parents named by ``indices``, write ``node`` of every tree."""


class InPlacePools(NamedTuple):
    """The pools, and which of their LSTM states count."""

    nodes: NodePools
    keeps_lstm: Tensor  # i32 [N, B]: 0 where the state below a node starts from zero


class InPlaceStep:
    """Adds a node to every tree; what ``LatentPool.step`` does on a CPU."""

    def __init__(
        self,
        network: EfficientZeroNet,
        pools: NodePools,
        infer: Callable[[InPlacePools, Tensor, int], Logits],
    ) -> None:
        """Allocate what every step uses again."""
        num_nodes, batch = pools.latents.shape[:2]
        keeps_lstm = torch.ones((num_nodes, batch), dtype=torch.int32)
        self._infer, self._pools = infer, InPlacePools(pools, keeps_lstm)
        self._keeps_lstm = keeps_lstm.numpy()
        self._rule, policy_width = network.planning_rule, PolicyShape.of(network.spec).width
        self._numbers = torch.empty(StepAnswers.size(batch, policy_width))
        self._answers = StepAnswers.within(self._numbers, policy_width)

    def __call__(self, indices: Tensor, node: int) -> Tensor:
        """Return the numbers, the same tensor every time."""
        self._keeps_lstm[node] = indices.numpy()[KEEPS_LSTM]
        self._rule.write_step(self._infer(self._pools, indices, node), self._answers)
        return self._numbers


def in_place_step(network: EfficientZeroNet, pools: NodePools) -> InPlaceStep | None:
    """Return the step of a folded network, or None where its layers cannot work in place."""
    if isinstance(network, InPlaceNetwork):
        return InPlaceStep(network, pools, network.recurrent_inference_into)
    dynamics, lstm = network.dynamics, _lstm_of(network)
    if not isinstance(dynamics, FoldedDynamics) or not dynamics.works_in_place:
        return None
    if not isinstance(lstm, PackedLstmCell | None):
        return None
    layers = _Layers(network, dynamics, lstm)
    return InPlaceStep(network, pools, _Recorded(layers, pools))


def _lstm_of(network: EfficientZeroNet) -> nn.Module | None:
    return network.value_prefix_head.lstm


class _Recorded:
    """A folded network's layers, recorded."""

    def __init__(self, layers: _Layers, pools: NodePools) -> None:
        batch = pools.latents.shape[1]

        def make_examples() -> tuple[tuple[Tensor, ...] | Tensor, ...]:
            latents, lstm_states = (torch.zeros_like(pool[:2]) for pool in pools)
            keeps_lstm = torch.ones((2, batch), dtype=torch.int32)
            indices = torch.zeros((NUM_INDEX_ROWS, batch), dtype=torch.int32)
            return (latents, lstm_states, keeps_lstm), indices, latents[1], lstm_states[1]

        self._layers = traced(layers, make_examples)
        self._logits = _logits_of(layers.outputs)
        self._slabs = list(zip(*pools, strict=True))

    def __call__(self, pools: InPlacePools, indices: Tensor, node: int) -> Logits:
        outputs = self._layers((*pools.nodes, pools.keeps_lstm), indices, *self._slabs[node])
        return self._logits(*outputs)


def _logits_of(names: tuple[str, ...]) -> Callable[..., Logits]:
    """Return what makes ``Logits`` of outputs with these names."""
    if names == Logits._fields[: len(names)]:
        return Logits
    return lambda *outputs: Logits(**dict(zip(names, outputs, strict=True)))


class _Layers(nn.Module):
    """``EfficientZeroNet.recurrent_inference``, in place."""

    def __init__(
        self, network: EfficientZeroNet, dynamics: FoldedDynamics, lstm: PackedLstmCell | None
    ) -> None:
        super().__init__()
        self.dynamics, self.lstm, self.prediction = dynamics, lstm, network.prediction
        self.value_prefix_head = network.value_prefix_head
        self.rows = Rows(network.latent_shape)
        self.outputs = ("value_prefix_logits", *network.predictions)

    def forward(
        self,
        pools: tuple[Tensor, Tensor, Tensor],
        indices: Tensor,
        new_rows: Tensor,
        new_states: Tensor,
    ) -> tuple[Tensor, ...]:
        latents, lstm_states, keeps_lstm = pools
        parents, actions = indices[PARENTS], indices[ACTIONS]
        new_latents = self.rows.latents(new_rows)
        self.dynamics.forward_into(self.rows.latents(latents), parents, actions, new_latents)
        head = self.value_prefix_head
        features = head.stem(new_latents)
        if self.lstm is not None and head.lstm_norm is not None:
            self.lstm.forward_into(features, lstm_states, keeps_lstm, parents, new_states)
            features = F.relu_(head.lstm_norm(new_states[:, 0]))
        return (head.classifier(features), *self.prediction(new_latents))

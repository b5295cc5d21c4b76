"""The steps that a backend runs or records: gather the parents, infer, store the new nodes.

Used by ``search_network``. All pools are flat: node i of tree b is row i * B + b.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from efficientzero.inference.node_pools import ACTIONS, KEEPS_LSTM, NODES, PARENTS, Rows
from efficientzero.networks import EfficientZeroNet, RecurrentInference, step_answers
from efficientzero.process.devices import precision_context

Precision = Literal["auto", "float32", "bfloat16"]


class Step(nn.Module):
    """A step; subclasses store its nodes."""

    trees: Tensor  # i64 [B]

    def __init__(
        self, network: EfficientZeroNet, rows: Rows, batch_size: int, precision: Precision
    ) -> None:
        """Keep the network, and how rows lie."""
        super().__init__()
        self.network, self.rows, self._precision = network, rows, precision
        self.register_buffer(
            "trees", torch.arange(batch_size, device=next(network.parameters()).device), False
        )

    def infer(
        self, latents: Tensor, lstm_states: Tensor, indices: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the new nodes' latents (as rows) and LSTM states, and the numbers."""
        parents = self.parents(indices)
        step = self.taken(latents, lstm_states, parents, indices[ACTIONS])
        new_states = step.lstm_states * indices[KEEPS_LSTM][:, None, None]
        answers = step_answers(step, self.network.planning_rule)
        return self.rows.of(step.latents), new_states, answers.joined()

    def parents(self, indices: Tensor) -> Tensor:
        """Return the rows of the parents in flat pools, i64 [B]."""
        return indices[PARENTS] * indices.shape[1] + self.trees

    def taken(
        self, latents: Tensor, lstm_states: Tensor, parents: Tensor, actions: Tensor
    ) -> RecurrentInference:
        """Return the network's outputs for the actions, i64 [B] or f32 [B, X], at the parents."""
        parent_latents = self.rows.latents(latents.index_select(0, parents))
        with precision_context(self._precision, latents.device):
            return self.network.recurrent_inference(
                parent_latents, lstm_states.index_select(0, parents), actions
            )


class SlabStep(Step):
    """Writes the nodes to a part of the pool: they all have the same index."""

    def forward(
        self,
        latents: Tensor,
        lstm_states: Tensor,
        indices: Tensor,
        new_latents: Tensor,
        new_states: Tensor,
    ) -> Tensor:
        """Return the numbers."""
        rows, states, numbers = self.infer(latents, lstm_states, indices.long())
        new_latents.copy_(rows)
        new_states.copy_(states)
        return numbers


class IndexedStep(Step):
    """Finds the nodes' place from the indices, because a CUDA graph's addresses are fixed."""

    def forward(self, latents: Tensor, lstm_states: Tensor, indices: Tensor) -> Tensor:
        """Return the numbers."""
        indices = indices.long()
        rows, states, numbers = self.infer(latents, lstm_states, indices)
        nodes = indices[NODES] * indices.shape[1] + self.trees
        latents.index_copy_(0, nodes, rows)
        lstm_states.index_copy_(0, nodes, states)
        return numbers

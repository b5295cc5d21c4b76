"""Steps where a tree's actions are slots that hold continuous ones.

Used by ``search_network`` in place of ``steps``. The trees choose slots; which action is in a slot
of a node is known here alone. A new node draws its actions from its own policy, as EfficientZero V2
(Wang et al., 2024) does, from noise that the search drew beforehand: the same seeds give the same
search, whatever the backend.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from efficientzero.config import SearchConfig
from efficientzero.inference.node_pools import ACTIONS, KEEPS_LSTM, NODES, Rows
from efficientzero.inference.steps import Precision, Step
from efficientzero.networks import EfficientZeroNet, StepAnswers, squashed_gaussian
from efficientzero.schema import EnvSpec
from mcts_cpp import SPARE_LOGIT


class SlotShape(NamedTuple):
    """Sizes of a node's actions."""

    num_slots: int
    """W: of the root, and of all nodes as the trees see them."""
    num_inner: int
    """Slots of other nodes that hold an action; the rest is spare and never chosen."""
    action_size: int
    """X."""

    @classmethod
    def of(cls, spec: EnvSpec, search: SearchConfig) -> SlotShape | None:
        """Return the sizes for an environment; None: its actions are discrete."""
        if spec.action_kind != "continuous":
            return None
        return cls(search.sampled_actions, search.sampled_inner_actions, spec.action_size)


class SlotPools(NamedTuple):
    """Actions of N nodes of B trees, and the noise that inner nodes draw theirs with."""

    actions: Tensor  # f32 [N, B, W, X]
    noise: Tensor  # f32 [N, B, inner, X] standard normal; that of roots is not used

    @property
    def shape(self) -> SlotShape:
        """The sizes that they were made for."""
        _, _, num_slots, size = self.actions.shape
        return SlotShape(num_slots, self.noise.shape[2], size)


def new_slot_pools(shape: SlotShape, num_nodes: int, batch_size: int, like: Tensor) -> SlotPools:
    """Return pools of zeros on the device of ``like``, in float32."""
    num_slots, num_inner, size = shape
    return SlotPools(
        like.new_zeros((num_nodes, batch_size, num_slots, size)),
        like.new_zeros((num_nodes, batch_size, num_inner, size)),
    )


class SampledStep(Step):
    """A step whose actions are in slots; subclasses store its nodes."""

    prior_logits: Tensor  # f32 [B, W] of every inner node

    def __init__(
        self,
        network: EfficientZeroNet,
        rows: Rows,
        batch_size: int,
        precision: Precision,
        shape: SlotShape,
    ) -> None:
        """Keep the sizes, and the one prior of all inner nodes: their slots are drawn from it."""
        super().__init__(network, rows, batch_size, precision)
        self._shape = shape
        logits = torch.zeros((batch_size, shape.num_slots), device=self.trees.device)
        logits[:, shape.num_inner :] = float(SPARE_LOGIT)
        self.register_buffer("prior_logits", logits, False)

    def infer_slots(
        self, pools: tuple[Tensor, ...], indices: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the new nodes' rows, LSTM states and actions [B, inner, X], and the numbers.

        Args:
            pools: flat latents, LSTM states and actions f32 [N * B, W, X].
            indices: i64 [4, B]; the second row are slots.
            noise: f32 [B, inner, X] of the new nodes.
        """
        latents, lstm_states, slot_actions = pools
        parents = self.parents(indices)
        actions = slot_actions[parents, indices[ACTIONS]]  # [B, X]
        step = self.taken(latents, lstm_states, parents, actions)
        policy = squashed_gaussian.parameters(step.policy_logits[:, None])  # [B, 1, X]
        rule = self.network.planning_rule
        answers = StepAnswers(rule.value_prefixes(step), rule.values(step), self.prior_logits)
        return (
            self.rows.of(step.latents),
            step.lstm_states * indices[KEEPS_LSTM][:, None, None],
            squashed_gaussian.draw(policy, noise),
            answers.joined(),
        )


class SampledSlabStep(SampledStep):
    """Writes the nodes to a part of the pools: they all have the same index."""

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the numbers.

        Args:
            tensors: the four pools, flat, the indices, and the new node's part of each pool.
        """
        *pools, _all_noise, indices, new_latents, new_states, new_actions, noise = tensors
        rows, states, actions, numbers = self.infer_slots(tuple(pools), indices.long(), noise)
        new_latents.copy_(rows)
        new_states.copy_(states)
        new_actions[:, : self._shape.num_inner].copy_(actions)
        return numbers


class SampledIndexedStep(SampledStep):
    """Finds the nodes' place from the indices, because a CUDA graph's addresses are fixed."""

    def forward(
        self,
        latents: Tensor,
        lstm_states: Tensor,
        slot_actions: Tensor,
        noise: Tensor,
        indices: Tensor,
    ) -> Tensor:
        """Return the numbers; ``noise`` is that of all nodes, f32 [N * B, inner, X]."""
        indices = indices.long()
        nodes = indices[NODES] * indices.shape[1] + self.trees
        pools = latents, lstm_states, slot_actions
        rows, states, actions, numbers = self.infer_slots(
            pools, indices, noise.index_select(0, nodes)
        )
        latents.index_copy_(0, nodes, rows)
        lstm_states.index_copy_(0, nodes, states)
        slot_actions[:, : self._shape.num_inner].index_copy_(0, nodes, actions)
        return numbers

"""One simulation's work on the device: recurrent inference, decode, store.

Used by ``search``. Latents and LSTM states of every node stay where they are (``node_pools``). Per
simulation one array of indices goes in and one of numbers comes out.

Three backends do the same: ``eager``; ``folded``, on a CPU, a recorded graph of the network that
``folded_network`` makes; ``graphed``, a CUDA graph replayed at once. They gather the parents from
the pools and copy the new nodes into them, but for folded networks that work ``in_place``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from efficientzero.inference.cpu.folded_network import FoldedNetwork
from efficientzero.inference.cpu.in_place import in_place_step
from efficientzero.inference.graph_capture import graphed, traced
from efficientzero.inference.node_pools import (
    ACTIONS,
    KEEPS_LSTM,
    NODES,
    NUM_INDEX_ROWS,
    PARENTS,
    NodePools,
    Rows,
)
from efficientzero.networks import (
    EfficientZeroNet,
    InitialInference,
    noisy_layers,
    step_answers,
)
from efficientzero.process.devices import precision_context

Backend = Literal["auto", "eager", "folded", "graphed"]
Precision = Literal["auto", "float32", "bfloat16"]


class SearchNetwork:
    """A live network as one backend runs it, for roots and for simulations."""

    def __init__(
        self,
        network: EfficientZeroNet,
        *,
        backend: Backend,
        precision: Precision,
        batch_size: int,
    ) -> None:
        """Choose the backend, and fold the network where that asks for it.

        Args:
            network: in eval mode, on its device; its weights may change in place.
            backend: auto is graphed on CUDA; on a CPU it is folded, where torch has oneDNN and
                precision is float32, else eager.
            precision: of the network's arithmetic; auto is bfloat16 on CUDA.
            batch_size: roots of a usual call.

        Raises:
            ValueError: the backend does not run on this device, in this precision or this torch.
        """
        self.device = next(network.parameters()).device
        self.backend, self.precision = _resolved(backend, precision, self.device), precision
        if self.backend == "folded" and noisy_layers(network):
            self.backend = "eager"  # folded weights would keep the noise that they were made with
        self._folded = FoldedNetwork(network) if self.backend == "folded" else None
        self.network = network if self._folded is None else self._folded.network
        """The modules to call or record, after ``refresh``."""

    def refresh(self) -> None:
        """Update the tensors derived from weights that have changed since."""
        if self._folded is not None:
            self._folded.refresh()

    def initial_inference(self, observations: Tensor) -> InitialInference:
        """Encode observations [B, *observation] on the device and predict from them."""
        self.refresh()
        with precision_context(self.precision, self.device):
            return self.network.initial_inference(observations)


class LatentPool:
    """Latents and LSTM states of M + 1 nodes of B trees, and the step that adds a node to each."""

    @torch.inference_mode()
    def __init__(self, network: SearchNetwork, batch_size: int, *, num_nodes: int) -> None:
        """Allocate, and record the step where the backend does so.

        Args:
            network: for the simulations.
            batch_size: B.
            num_nodes: M + 1.
        """
        self._network = network
        modules = network.network
        self._rows = Rows(modules.latent_shape)
        latents = torch.zeros((batch_size, *modules.latent_shape), device=network.device)
        row_shape = self._rows.of(latents).shape[1:]
        lstm_shape = modules.initial_lstm_states(0).shape[1:]
        self._pools = NodePools(
            latents.new_zeros((num_nodes, batch_size, *row_shape)),
            latents.new_zeros((num_nodes, batch_size, *lstm_shape)),
        )
        self._step = _make_step(network, self._pools)

    def write_roots(self, latents: Tensor) -> None:
        """Store the roots' latents [B, *latent]; their LSTM states are zero.

        A search starts with this: weights that have changed since the last one count from here.
        """
        self._network.refresh()
        self._pools.latents[0] = self._rows.of(latents)
        self._pools.lstm_states[0].zero_()

    def step(self, indices: Tensor, node: int) -> Tensor:
        """Add one node to every tree.

        Args:
            indices: i32 [4, B] on the device, rows as ``node_pools`` names them.
            node: the new node, as in the indices; no parent among them.

        Returns:
            f32 [2 * B + B * A], which the next step may overwrite: ``StepAnswers``, joined.

        A network that works in place refuses a parent that is not in 0..M, with the kernels' line.
        """
        return self._step(indices, node)


_StepFunction = Callable[[Tensor, int], Tensor]


def _make_step(network: SearchNetwork, pools: NodePools) -> _StepFunction:
    modules, batch_size = network.network, pools.latents.shape[1]
    if network.backend == "folded":
        in_place = in_place_step(modules, pools)
        if in_place is not None:
            return in_place
    arguments = (modules, Rows(modules.latent_shape), batch_size, network.precision)
    flat = tuple(pool.flatten(0, 1) for pool in pools)
    if network.backend == "graphed":
        return _graphed(_IndexedStep(*arguments), flat, batch_size)
    step: nn.Module = _SlabStep(*arguments)
    if network.backend == "folded":
        step = _traced(step, flat, batch_size)

    def gather_and_copy(indices: Tensor, node: int) -> Tensor:
        numbers: Tensor = step(*flat, indices, *(pool[node] for pool in pools))
        return numbers

    return gather_and_copy


class _Step(nn.Module):
    """A step; subclasses store its nodes."""

    trees: Tensor  # i64 [B]

    def __init__(
        self, network: EfficientZeroNet, rows: Rows, batch_size: int, precision: Precision
    ) -> None:
        super().__init__()
        self.network, self.rows, self._precision = network, rows, precision
        self.register_buffer(
            "trees", torch.arange(batch_size, device=next(network.parameters()).device), False
        )

    def infer(
        self, latents: Tensor, lstm_states: Tensor, indices: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the new nodes' latents (as rows) and LSTM states, and the numbers."""
        parents = indices[PARENTS] * indices.shape[1] + self.trees
        parent_latents = self.rows.latents(latents.index_select(0, parents))
        with precision_context(self._precision, latents.device):
            step = self.network.recurrent_inference(
                parent_latents, lstm_states.index_select(0, parents), indices[ACTIONS]
            )
        new_states = step.lstm_states * indices[KEEPS_LSTM][:, None, None]
        answers = step_answers(step, self.network.planning_rule)
        return self.rows.of(step.latents), new_states, answers.joined()


class _SlabStep(_Step):
    """Writes the nodes to a part of the pool: they all have the same index."""

    def forward(
        self,
        latents: Tensor,
        lstm_states: Tensor,
        indices: Tensor,
        new_latents: Tensor,
        new_states: Tensor,
    ) -> Tensor:
        rows, states, numbers = self.infer(latents, lstm_states, indices.long())
        new_latents.copy_(rows)
        new_states.copy_(states)
        return numbers


class _IndexedStep(_Step):
    """Finds the nodes' place from the indices, because a CUDA graph's addresses are fixed."""

    def forward(self, latents: Tensor, lstm_states: Tensor, indices: Tensor) -> Tensor:
        indices = indices.long()
        rows, states, numbers = self.infer(latents, lstm_states, indices)
        nodes = indices[NODES] * indices.shape[1] + self.trees
        latents.index_copy_(0, nodes, rows)
        lstm_states.index_copy_(0, nodes, states)
        return numbers


def _traced(module: nn.Module, pools: tuple[Tensor, ...], batch_size: int) -> nn.Module:
    def make_examples() -> tuple[Tensor, ...]:
        latents, lstm_states = (torch.zeros_like(pool) for pool in pools)
        indices = torch.zeros((NUM_INDEX_ROWS, batch_size), dtype=torch.int32)
        return latents, lstm_states, indices, latents[:batch_size], lstm_states[:batch_size]

    return traced(module, make_examples)


def _graphed(module: nn.Module, pools: tuple[Tensor, ...], batch_size: int) -> _StepFunction:
    shape = (NUM_INDEX_ROWS, batch_size)
    indices = torch.zeros(shape, dtype=torch.int32, device=pools[0].device)
    replay = graphed(module, (*pools, indices))

    def step(new_indices: Tensor, node: int) -> Tensor:
        del node
        indices.copy_(new_indices, non_blocking=True)
        return replay()

    return step


def _resolved(backend: Backend, precision: Precision, device: torch.device) -> Backend:
    on_cpu, has_onednn = device.type == "cpu", torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if backend == "auto":
        if device.type == "cuda":
            return "graphed"
        return "folded" if on_cpu and has_onednn and precision != "bfloat16" else "eager"
    if backend == "graphed" and device.type != "cuda":
        raise ValueError(f"search.inference_backend: got graphed on {device.type}, wanted CUDA")
    if backend == "folded":
        if not on_cpu or precision == "bfloat16":
            where = f"{device.type} in {precision}"
            raise ValueError(
                f"search.inference_backend: got folded on {where}, wanted a CPU and float32"
            )
        if not has_onednn:
            raise ValueError(
                "search.inference_backend: got folded, which this torch, built without oneDNN, "
                "cannot run: use eager, or pip install torch=="
                f"{torch.__version__.split('+', maxsplit=1)[0]}"
            )
    return backend

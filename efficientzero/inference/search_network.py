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
from efficientzero.inference.node_pools import NUM_INDEX_ROWS, NodePools, Rows
from efficientzero.inference.sampled_steps import (
    SampledIndexedStep,
    SampledSlabStep,
    SlotPools,
    SlotShape,
    new_slot_pools,
)
from efficientzero.inference.steps import IndexedStep, Precision, SlabStep
from efficientzero.networks import EfficientZeroNet, InitialInference, noisy_layers
from efficientzero.process.devices import precision_context

Backend = Literal["auto", "eager", "folded", "graphed"]


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
    def __init__(
        self,
        network: SearchNetwork,
        batch_size: int,
        *,
        num_nodes: int,
        slots: SlotShape | None = None,
    ) -> None:
        """Allocate, and record the step where the backend does so.

        Args:
            network: for the simulations.
            batch_size: B.
            num_nodes: M + 1.
            slots: of continuous actions; None: they are discrete.
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
        self._slots: SlotPools | None = None
        if slots is not None:
            self._slots = new_slot_pools(slots, num_nodes, batch_size, latents)
        self._step = _make_step(network, self._pools, self._slots)

    def write_roots(self, latents: Tensor) -> None:
        """Store the roots' latents [B, *latent]; their LSTM states are zero.

        A search starts with this: weights that have changed since the last one count from here.
        """
        self._network.refresh()
        self._pools.latents[0] = self._rows.of(latents)
        self._pools.lstm_states[0].zero_()

    def write_slots(self, root_actions: Tensor, noise: Tensor) -> None:
        """Store the actions of the roots' slots, and what all other nodes draw theirs with.

        Args:
            root_actions: f32 [B, W, X].
            noise: f32 [M, B, inner, X] standard normal, on any device.
        """
        assert self._slots is not None
        self._slots.actions[0] = root_actions
        self._slots.noise[1:].copy_(noise, non_blocking=True)

    def step(self, indices: Tensor, node: int) -> Tensor:
        """Add one node to every tree.

        Args:
            indices: i32 [4, B] on the device, rows as ``node_pools`` names them.
            node: the new node, as in the indices; no parent among them.

        Returns:
            f32 [2 * B + B * W], which the next step may overwrite: ``StepAnswers``, joined.

        A network that works in place refuses a parent that is not in 0..M, with the kernels' line.
        """
        return self._step(indices, node)


_StepFunction = Callable[[Tensor, int], Tensor]


def _make_step(network: SearchNetwork, nodes: NodePools, slots: SlotPools | None) -> _StepFunction:
    modules, batch_size = network.network, nodes.latents.shape[1]
    if network.backend == "folded" and slots is None:
        in_place = in_place_step(modules, nodes)
        if in_place is not None:
            return in_place
    arguments = (modules, Rows(modules.latent_shape), batch_size, network.precision)
    pools = (*nodes, *(slots or ()))
    flat = tuple(pool.flatten(0, 1) for pool in pools)
    if network.backend == "graphed":
        indexed: nn.Module = IndexedStep(*arguments)
        if slots is not None:
            indexed = SampledIndexedStep(*arguments, slots.shape)
        return _graphed(indexed, flat, batch_size)
    step: nn.Module = SlabStep(*arguments)
    if slots is not None:
        step = SampledSlabStep(*arguments, slots.shape)
    if network.backend == "folded":
        step = _traced(step, flat, batch_size)

    def gather_and_copy(indices: Tensor, node: int) -> Tensor:
        numbers: Tensor = step(*flat, indices, *(pool[node] for pool in pools))
        return numbers

    return gather_and_copy


def _traced(module: nn.Module, pools: tuple[Tensor, ...], batch_size: int) -> nn.Module:
    def make_examples() -> tuple[Tensor, ...]:
        examples = [torch.zeros_like(pool) for pool in pools]
        indices = torch.zeros((NUM_INDEX_ROWS, batch_size), dtype=torch.int32)
        return *examples, indices, *(example[:batch_size] for example in examples)

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

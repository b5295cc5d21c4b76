"""One simulation's work on the device: gather, recurrent inference, decode, store.

Used by ``search``. Latents and LSTM states of every node live in place: node i of tree b is row
``i * B + b`` of a pool. Per simulation one array of indices goes in and one of numbers comes out.

Three backends do the same operations: ``eager``; ``folded``, on a CPU, a recorded graph of the
network that ``folded_network`` makes; ``graphed``, a CUDA graph replayed at once. Recordings share
the network's parameters, or tensors derived from them, so new weights (copied in place) need no
new recording.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from efficientzero.devices import precision_context
from efficientzero.folded_network import FoldedNetwork
from efficientzero.networks import EfficientZeroNet, InitialInference

Backend = Literal["auto", "eager", "folded", "graphed"]
Precision = Literal["auto", "float32", "bfloat16"]

NUM_INDEX_ROWS = 4
PARENTS, ACTIONS, KEEPS_LSTM, NODES = range(NUM_INDEX_ROWS)
"""Rows of i32 [4, B]: parent node, action, 0 where the LSTM state restarts, new node."""

_IMAGE_RANK = 4  # [B, C, H, W]
_GRAPH_WARMUP_CALLS = 3


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
        self._folded = FoldedNetwork(network) if self.backend == "folded" else None
        self.network = network if self._folded is None else self._folded.network
        """The modules to call or record, after ``refresh``."""

    def refresh(self) -> None:
        """Derive anew what was derived from weights that have changed since."""
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
        self._rows = _Rows(is_image=len(modules.latent_shape) == _IMAGE_RANK - 1)
        latents = torch.zeros((batch_size, *modules.latent_shape), device=network.device)
        row_shape = self._rows.of(latents).shape[1:]
        lstm_shape = modules.initial_lstm_states(0).shape[1:]
        self._latents = latents.new_zeros((num_nodes, batch_size, *row_shape))
        self._lstm_states = latents.new_zeros((num_nodes, batch_size, *lstm_shape))
        indices = torch.zeros(
            (NUM_INDEX_ROWS, batch_size), dtype=torch.int32, device=network.device
        )
        pools = (self._latents.flatten(0, 1), self._lstm_states.flatten(0, 1), indices)
        arguments = (modules, self._rows, batch_size, network.precision)
        self._step: _StepFunction
        if network.backend == "graphed":
            self._step = _graphed(_IndexedStep(*arguments), pools)
        elif network.backend == "folded":
            self._step = _traced(_SlabStep(*arguments), pools)
        else:
            self._step = _SlabStep(*arguments)
        self._pools = pools[:2]

    def write_roots(self, latents: Tensor) -> None:
        """Store the roots' latents [B, *latent]; their LSTM states are zero.

        A search starts with this: weights that have changed since the last one count from here.
        """
        self._network.refresh()
        self._latents[0] = self._rows.of(latents)
        self._lstm_states[0].zero_()

    def step(self, indices: Tensor, node: int) -> Tensor:
        """Add one node to every tree.

        Args:
            indices: i32 [4, B] on the device, rows as named above.
            node: the new node, as in the indices.

        Returns:
            f32 [2 * B + B * A]: value prefixes [B], values [B] (raw scale), policy logits [B, A].
        """
        return self._step(*self._pools, indices, self._latents[node], self._lstm_states[node])


class _Rows:
    """How latents lie in the pool."""

    def __init__(self, *, is_image: bool) -> None:
        self._permutes = is_image

    def of(self, latents: Tensor) -> Tensor:
        """Return latents [B, C, H, W] as rows: channels-last ones as [B, H, W, C]."""
        return latents.permute(0, 2, 3, 1) if self._permutes else latents

    def latents(self, rows: Tensor) -> Tensor:
        """Return rows as latents."""
        return rows.permute(0, 3, 1, 2) if self._permutes else rows


class _Step(nn.Module):
    """A step; subclasses store its nodes."""

    trees: Tensor  # i64 [B]

    def __init__(
        self, network: EfficientZeroNet, rows: _Rows, batch_size: int, precision: Precision
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
        decode = self.network.support.decode
        prefixes, values = decode(step.value_prefix_logits), decode(step.value_logits)  # [B]
        numbers = torch.cat((prefixes, values, step.policy_logits.float().flatten()))
        return self.rows.of(step.latents), new_states, numbers


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


_StepFunction = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def _traced(module: _SlabStep, pools: tuple[Tensor, Tensor, Tensor]) -> _StepFunction:
    # Outside inference mode: parameters that the recording refers to must stay ordinary tensors.
    with torch.inference_mode(mode=False), torch.no_grad(), warnings.catch_warnings():
        # The network's shape checks are constant for one search; tracing warns about each.
        warnings.simplefilter("ignore")
        latents, lstm_states, indices = (torch.zeros_like(pool) for pool in pools)
        batch = indices.shape[1]
        examples = (latents, lstm_states, indices, latents[:batch], lstm_states[:batch])
        graph: _StepFunction = torch.jit.trace(module, examples, check_trace=False)  # type: ignore[no-untyped-call]
    return graph


def _graphed(module: _IndexedStep, pools: tuple[Tensor, Tensor, Tensor]) -> _StepFunction:
    """Capture on the pool's own storage: a CUDA graph knows addresses, not arguments."""
    indices = pools[2]
    side = torch.cuda.Stream(indices.device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(indices.device))
    with torch.cuda.stream(side):
        for _ in range(_GRAPH_WARMUP_CALLS):
            module(*pools)
    torch.cuda.current_stream(indices.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        numbers: Tensor = module(*pools)

    def replay(
        latents: Tensor,
        lstm_states: Tensor,
        new_indices: Tensor,
        new_latents: Tensor,
        new_states: Tensor,
    ) -> Tensor:
        del latents, lstm_states, new_latents, new_states
        indices.copy_(new_indices, non_blocking=True)
        graph.replay()
        return numbers

    return replay


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

"""One simulation's work on the device: gather, recurrent inference, decode, store.

Used by ``search``. Latents and LSTM states of every node live in place: node i of tree b is row
``i * B + b`` of a pool. Per simulation one array of indices goes in and one of numbers comes out.

Three backends do the same operations: ``eager``; ``traced``, a recorded graph without Python in
between; ``graphed``, a CUDA graph replayed at once. Both recordings share the network's
parameters, so new weights (copied in place) need no new recording.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from efficientzero.devices import precision_context
from efficientzero.networks import EfficientZeroNet

Backend = Literal["auto", "eager", "traced", "graphed"]
Precision = Literal["auto", "float32", "bfloat16"]

NUM_INDEX_ROWS = 4
PARENTS, ACTIONS, KEEPS_LSTM, NODES = range(NUM_INDEX_ROWS)
"""Rows of i32 [4, B]: parent node, action, 0 where the LSTM state restarts, new node."""

_IMAGE_RANK = 4  # [B, C, H, W]
_GRAPH_WARMUP_CALLS = 3


class LatentPool:
    """Latents and LSTM states of M + 1 nodes of B trees, and the step that adds a node to each."""

    def __init__(
        self,
        network: EfficientZeroNet,
        root_latents: Tensor,
        *,
        num_nodes: int,
        backend: Backend,
        precision: Precision,
    ) -> None:
        """Allocate, and record the step where the backend does so.

        Args:
            network: in eval mode.
            root_latents: [B, *latent], for shape, dtype and device only.
            num_nodes: M + 1.
            backend: auto is traced on the CPU, graphed on CUDA.
            precision: of the network's arithmetic; auto is bfloat16 on CUDA.
        """
        batch, device = len(root_latents), root_latents.device
        rows = _as_rows(root_latents)
        lstm_states = network.initial_lstm_states(batch)
        self._latents = rows.new_zeros((num_nodes * batch, *rows.shape[1:]))
        self._lstm_states = lstm_states.new_zeros((num_nodes * batch, *lstm_states.shape[1:]))
        self._batch_size = batch
        module = _Step(network, batch, precision)
        indices = torch.zeros((NUM_INDEX_ROWS, batch), dtype=torch.int32, device=device)
        if backend == "auto":
            backend = "graphed" if device.type == "cuda" else "traced"
        if backend == "graphed":
            self._step = _graphed(module, self._latents, self._lstm_states, indices)
        elif backend == "traced":
            self._step = _traced(module, self._latents, self._lstm_states, indices)
        else:
            self._step = module

    def write_roots(self, latents: Tensor) -> None:
        """Store the roots' latents [B, *latent]; their LSTM states are zero."""
        self._latents[: self._batch_size] = _as_rows(latents)
        self._lstm_states[: self._batch_size].zero_()

    def step(self, indices: Tensor) -> Tensor:
        """Add one node to every tree.

        Args:
            indices: i32 [4, B] on the device, rows as named above.

        Returns:
            f32 [2 * B + B * A]: value prefixes [B], values [B] (raw scale), policy logits [B, A].
        """
        numbers: Tensor = self._step(self._latents, self._lstm_states, indices)
        return numbers


class _Step(nn.Module):
    trees: Tensor  # i64 [B]

    def __init__(self, network: EfficientZeroNet, batch_size: int, precision: Precision) -> None:
        super().__init__()
        self.network, self._precision = network, precision
        self.register_buffer(
            "trees", torch.arange(batch_size, device=next(network.parameters()).device), False
        )

    def forward(self, latents: Tensor, lstm_states: Tensor, indices: Tensor) -> Tensor:
        indices = indices.long()
        batch = indices.shape[1]
        parents = indices[PARENTS] * batch + self.trees
        parent_latents = latents.index_select(0, parents)
        if parent_latents.ndim == _IMAGE_RANK:
            parent_latents = parent_latents.permute(0, 3, 1, 2)  # channels-last in memory
        with precision_context(self._precision, latents.device):
            step = self.network.recurrent_inference(
                parent_latents, lstm_states.index_select(0, parents), indices[ACTIONS]
            )
        nodes = indices[NODES] * batch + self.trees
        latents.index_copy_(0, nodes, _as_rows(step.latents))
        lstm_states.index_copy_(0, nodes, step.lstm_states * indices[KEEPS_LSTM][:, None, None])
        logits = torch.stack((step.value_prefix_logits, step.value_logits))
        scalars = self.network.support.decode(logits)  # [2, B]
        return torch.cat((scalars.flatten(), step.policy_logits.float().flatten()))


_StepFunction = Callable[[Tensor, Tensor, Tensor], Tensor]


def _traced(module: _Step, latents: Tensor, lstm_states: Tensor, indices: Tensor) -> _StepFunction:
    # Outside inference mode: parameters that the recording refers to must stay ordinary tensors.
    with torch.inference_mode(mode=False), torch.no_grad(), warnings.catch_warnings():
        # The network's shape checks are constant for one search; tracing warns about each.
        warnings.simplefilter("ignore")
        examples = (torch.zeros_like(latents), torch.zeros_like(lstm_states), indices.clone())
        graph: _StepFunction = torch.jit.trace(module, examples, check_trace=False)  # type: ignore[no-untyped-call]
    return graph


def _graphed(module: _Step, latents: Tensor, lstm_states: Tensor, indices: Tensor) -> _StepFunction:
    """Capture on the pool's own storage: a CUDA graph knows addresses, not arguments."""
    arguments = (latents, lstm_states, indices)
    side = torch.cuda.Stream(latents.device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(latents.device))
    with torch.cuda.stream(side):
        for _ in range(_GRAPH_WARMUP_CALLS):
            module(*arguments)
    torch.cuda.current_stream(latents.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        numbers: Tensor = module(*arguments)

    def replay(latents: Tensor, lstm_states: Tensor, new_indices: Tensor) -> Tensor:
        del latents, lstm_states
        indices.copy_(new_indices, non_blocking=True)
        graph.replay()
        return numbers

    return replay


def _as_rows(latents: Tensor) -> Tensor:
    """Return image latents as [B, H, W, C], channels-last as the network makes them."""
    return latents.permute(0, 2, 3, 1) if latents.ndim == _IMAGE_RANK else latents

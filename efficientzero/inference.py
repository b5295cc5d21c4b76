"""How a search calls its network: one function per simulation, eager or traced.

Used by ``search``. A step is gather + recurrent inference + decoding, over a pool of latents.
``traced`` runs the same operations as a recorded graph, without Python between them; the graph
shares the network's parameters, so new weights need no new recording.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from efficientzero.latent_pool import LatentPool
from efficientzero.networks import EfficientZeroNet

StepOutput = tuple[Tensor, Tensor, Tensor, Tensor]
"""latents [B, *latent], lstm_states [B, 2, L], scalars [2, B] (prefixes, values), logits [B, A]."""

Step = Callable[[Tensor, Tensor], StepOutput]
"""Takes the parents' node indices and the actions, both i64 [B]."""


def make_step(
    network: EfficientZeroNet, pool: LatentPool, backend: Literal["auto", "eager", "traced"]
) -> Step:
    """Return the step function of one search.

    Args:
        network: in eval mode.
        pool: the search's own; read at each step.
        backend: auto is traced on the CPU, where Python costs most, and eager elsewhere.
    """
    module = _SearchStep(network)
    latents, lstm_states = pool.storage
    if backend == "traced" or (backend == "auto" and latents.device.type == "cpu"):
        return _traced(module, pool)
    return lambda nodes, actions: module(latents, lstm_states, pool.rows(nodes), actions)


def _traced(module: _SearchStep, pool: LatentPool) -> Step:
    latents, lstm_states = pool.storage
    actions = torch.zeros(pool.batch_size, dtype=torch.int64, device=latents.device)
    # Recorded outside inference mode: parameters that training touches must stay ordinary tensors.
    with torch.inference_mode(mode=False), torch.no_grad(), warnings.catch_warnings():
        # The network's shape checks are constant for one search; tracing warns about each.
        warnings.simplefilter("ignore")
        examples = (torch.zeros_like(latents), torch.zeros_like(lstm_states), actions, actions)
        graph = torch.jit.trace(module, examples, check_trace=False)  # type: ignore[no-untyped-call]

    def step(nodes: Tensor, actions: Tensor) -> StepOutput:
        output: StepOutput = graph(latents, lstm_states, pool.rows(nodes), actions)
        return output

    return step


class _SearchStep(nn.Module):
    """Gather, infer, decode."""

    def __init__(self, network: EfficientZeroNet) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, latents: Tensor, lstm_states: Tensor, rows: Tensor, actions: Tensor
    ) -> StepOutput:
        parents, parent_lstm_states = LatentPool.gather(latents, lstm_states, rows)
        step = self.network.recurrent_inference(parents, parent_lstm_states, actions)
        # One decode, and later one transfer, for both scalars.
        logits = torch.stack((step.value_prefix_logits, step.value_logits))
        scalars = self.network.support.decode(logits)
        return step.latents, step.lstm_states, scalars, step.policy_logits

"""A straightforward search loop in eager PyTorch, as in published EfficientZero code.

It is compared with ``BatchedSearch`` on the same weights. Latents and LSTM states stay in Python
lists of numpy arrays, one entry per simulation; each simulation gathers them in a Python loop,
makes new tensors, calls the network layer by layer, converts every answer to numpy, and passes
lists to the trees. The network has PyTorch's default layout, with ``nn.LSTM``. The trees are ours,
so that only the loop and the network differ.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.measuring import Row, cost_row, cpu_seconds, ratio_row
from benchmarks.search.search_cost import (
    ATARI,
    FreeNetwork,
    make_network,
    make_observations,
    make_search,
    prepare,
)
from efficientzero.config import AgentConfig, NetworkConfig, SearchConfig
from efficientzero.inference.cpu import _kernels
from efficientzero.networks import ConvDynamics, EfficientZeroNet, LstmCell
from efficientzero.schema import F32, EnvSpec, Roots
from mcts_cpp import SearchParams, TreeBatch

# By the instruction set of our kernels, then by batch size: some of the gain is theirs.
_MIN_SPEEDUP = {"avx512": {8: 3.0, 64: 2.0}, "avx2": {8: 1.7, 64: 1.5}}
_MIN_FREE_SPEEDUP = {"avx512": 10.0, "avx2": 7.0}


class Answer(NamedTuple):
    """Outputs of the plain network, all in numpy."""

    latents: F32  # [B, C, h, w]
    h: F32  # [1, B, L]
    c: F32  # [1, B, L]
    value_prefixes: F32  # [B]
    values: F32  # [B]
    policy_logits: F32  # [B, A]


class PlainNetwork:
    """The same function and weights as an ``EfficientZeroNet`` for images, written plainly."""

    def __init__(self, network: EfficientZeroNet) -> None:
        """Copy the weights into PyTorch's default layout."""
        network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        head = network.value_prefix_head
        if not isinstance(network.dynamics, ConvDynamics) or head.lstm is None:
            raise ValueError("plain network: got no images or no LSTM, wanted both")
        self._dynamics, self._head, self._lstm = network.dynamics, head, _torch_lstm(head.lstm)
        self._network = network

    def initial_inference(self, observations: Tensor) -> Answer:
        """Encode f32 [B, C, H, W] in 0..1."""
        root = self._network.initial_inference(observations)
        values = self._network.support.decode(root.value_logits)
        states = torch.zeros(1, len(observations), self._lstm.hidden_size)
        answers = (root.latents, states, states, torch.zeros_like(values), values)
        return Answer(*(x.numpy() for x in (*answers, root.policy_logits)))

    def recurrent_inference(self, latents: Tensor, h: Tensor, c: Tensor, actions: Tensor) -> Answer:
        """Step from f32 [B, C, h, w] and LSTM states [1, B, L] by actions i64 [B, 1]."""
        dynamics, decode = self._dynamics, self._network.support.decode
        plane = torch.ones(len(latents), 1, *latents.shape[2:])
        plane = plane * actions[:, :, None, None] / self._network.spec.num_actions
        x = dynamics.norm(dynamics.conv(torch.cat((latents, plane), dim=1)))
        x = dynamics.blocks(F.relu(x + latents))
        features, (h, c) = self._lstm(self._head.stem(x).unsqueeze(0), (h, c))
        assert self._head.lstm_norm is not None
        features = F.relu(self._head.lstm_norm(features.squeeze(0)))
        prefixes = decode(self._head.classifier(features))
        value_logits, policy_logits = self._network.prediction(x)
        values = decode(value_logits)
        return Answer(*(t.numpy() for t in (x, h, c, prefixes, values, policy_logits)))


class FreePlainNetwork(PlainNetwork):
    """Returns the prepared answers of a ``FreeNetwork``, decoded and converted to numpy."""

    def recurrent_inference(self, latents: Tensor, h: Tensor, c: Tensor, actions: Tensor) -> Answer:
        """Return the next prepared step."""
        decode, no_states = self._network.support.decode, h.new_empty(0)
        step = self._network.recurrent_inference(latents, no_states, actions)
        prefixes, values = decode(step.value_prefix_logits), decode(step.value_logits)
        answers = (latents, h, c, prefixes, values, step.policy_logits)
        return Answer(*(x.numpy() for x in answers))


class PlainLoop:
    """Searches B roots."""

    def __init__(
        self, network: EfficientZeroNet, batch_size: int, generator: np.random.Generator
    ) -> None:
        """Keep a plain copy of the network; coefficients are the defaults."""
        self._network = (
            FreePlainNetwork(network) if isinstance(network, FreeNetwork) else PlainNetwork(network)
        )
        self._generator = generator
        self._num_actions, self._search = network.spec.num_actions, SearchConfig()
        self._trees = TreeBatch(
            batch_size,
            self._num_actions,
            self._search.num_simulations,
            SearchParams(discount=AgentConfig().discount),
            np.zeros(batch_size, np.uint64),
        )
        self._parents = np.zeros(batch_size, np.int32)
        self._actions = np.zeros(batch_size, np.int32)
        self._resets = np.zeros(batch_size, np.bool_)

    @torch.no_grad()
    def run(
        self, observations: NDArray[np.uint8], *, exploration_noise: bool
    ) -> tuple[list[list[int]], list[float]]:
        """Search from [B, C, H, W] and return visit counts [B][A] and root values [B]."""
        batch = len(observations)
        root = self._network.initial_inference(torch.from_numpy(observations).float() / 255.0)
        latents, hs, cs = [root.latents], [root.h], [root.c]
        seeds = self._generator.integers(0, 2**64, size=batch, dtype=np.uint64)
        self._trees.reset(seeds)
        noise = self._noise(batch) if exploration_noise else None
        self._trees.expand_roots(root.policy_logits, root.values, noise)
        for _ in range(self._search.num_simulations):
            self._trees.select_leaves(self._parents, self._actions, self._resets)
            answer = self._infer(latents, hs, cs)
            restarts = [i for i, resets in enumerate(self._resets.tolist()) if resets]
            answer.h[:, restarts, :] = 0.0
            answer.c[:, restarts, :] = 0.0
            latents.append(answer.latents)
            hs.append(answer.h)
            cs.append(answer.c)
            self._backup(
                answer.value_prefixes.tolist(),
                answer.values.tolist(),
                answer.policy_logits.tolist(),
            )
        visit_counts = np.empty((batch, self._num_actions), np.int32)
        root_values = np.empty(batch, np.float32)
        self._trees.visit_counts(visit_counts)
        self._trees.root_values(root_values)
        return visit_counts.tolist(), root_values.tolist()

    def _infer(self, latents: list[F32], hs: list[F32], cs: list[F32]) -> Answer:
        """Gather the chosen parents from the lists and call the network."""
        parent_latents, parent_hs, parent_cs = [], [], []
        for tree, node in enumerate(self._parents.tolist()):
            parent_latents.append(latents[node][tree])
            parent_hs.append(hs[node][0][tree])
            parent_cs.append(cs[node][0][tree])
        return self._network.recurrent_inference(
            torch.from_numpy(np.asarray(parent_latents)),
            torch.from_numpy(np.asarray(parent_hs)).unsqueeze(0),
            torch.from_numpy(np.asarray(parent_cs)).unsqueeze(0),
            torch.from_numpy(np.asarray(self._actions.tolist())).unsqueeze(1).long(),
        )

    def _backup(
        self, prefixes: list[float], values: list[float], logits: list[list[float]]
    ) -> None:
        self._trees.backup(
            np.asarray(prefixes, np.float32),
            np.asarray(values, np.float32),
            np.asarray(logits, np.float32),
        )

    def _noise(self, batch: int) -> F32:
        alpha = [self._search.root_dirichlet_alpha] * self._num_actions
        return np.asarray(
            [self._generator.dirichlet(alpha).tolist() for _ in range(batch)], np.float32
        )


def measure_plain_loop(
    batch_size: int, *, rounds: int, config: NetworkConfig | None = None, spec: EnvSpec = ATARI
) -> list[Row]:
    """Compare the plain loop with a search as actors run it."""
    network = make_network(EfficientZeroNet, config or NetworkConfig(), spec)
    must = _MIN_SPEEDUP.get(_kernels.INSTRUCTION_SET, {}).get(batch_size)
    return _compare(network, batch_size, "", rounds, must)


def measure_free_plain_loop(
    batch_size: int, *, rounds: int, config: NetworkConfig | None = None, spec: EnvSpec = ATARI
) -> list[Row]:
    """Compare the two around a network that is free: all but the network."""
    network = make_network(FreeNetwork, config or NetworkConfig(), spec)
    prepare(network, make_observations(batch_size, spec))
    must = _MIN_FREE_SPEEDUP.get(_kernels.INSTRUCTION_SET)
    return _compare(network, batch_size, ", free network", rounds, must)


def _compare(
    network: EfficientZeroNet, batch_size: int, title: str, rounds: int, must: float | None
) -> list[Row]:
    observations = make_observations(batch_size, network.spec)
    search = make_search(network, batch_size)
    plain = PlainLoop(network, batch_size, np.random.default_rng(0))
    samples = cpu_seconds(
        {
            "plain": partial(plain.run, observations.numpy(), exploration_noise=True),
            "search": partial(search.run, Roots(observations), exploration_noise=True),
        },
        rounds=rounds,
    )
    where = f"{title} B={batch_size} M={search.num_simulations}"
    sizes = {"num_roots": batch_size, "num_simulations": search.num_simulations}
    return [
        ratio_row(
            f"plain loop / search{where}",
            samples["plain"],
            samples["search"],
            must=must,
            at_least=True,
            note=f"{_kernels.INSTRUCTION_SET} kernels",
        ),
        cost_row(f"plain loop{where}", samples["plain"], **sizes),
    ]


def _torch_lstm(cell: LstmCell) -> nn.LSTM:
    """Return the same function as PyTorch's own module."""
    input_size = cell.weight.shape[1] - cell.hidden_size
    lstm = nn.LSTM(input_size, cell.hidden_size)
    weights = (
        cell.weight[:, :input_size],
        cell.weight[:, input_size:],
        cell.bias_input,
        cell.bias_hidden,
    )
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    lstm.load_state_dict(dict(zip(names, weights, strict=True)))
    return lstm.eval()

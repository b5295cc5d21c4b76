"""The cost of the whole search apart from its network, on the CPU with one thread.

Two views: with the reference network, as a multiple of the same network calls made bare; and around
a network that answers at once, which leaves the trees, the pools and the decoding of logits.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import Row, cost_row, cpu_seconds, ratio_row
from efficientzero.config import AgentConfig, NetworkConfig, SearchConfig
from efficientzero.inference.cpu.in_place import InPlacePools, Logits
from efficientzero.networks import (
    EfficientZeroNet,
    Heads,
    InitialInference,
    RecurrentInference,
    ScalarSupport,
)
from efficientzero.schema import EnvSpec, PolicyShape, Roots
from efficientzero.search import BatchedSearch

_Network = TypeVar("_Network", bound=EfficientZeroNet)

_MAX_RATIO = 1.05  # of the whole search to its bare network calls
ATARI = EnvSpec(
    env_id="ALE/Pong-v5",
    frame_shape=(3, 96, 96),
    frame_dtype="uint8",
    num_actions=6,
    num_stacked_frames=4,
)


class FreeNetwork(EfficientZeroNet):
    """Returns tensors made beforehand, so that a search's time does not contain the network's.

    Latents and LSTM states are returned unchanged; logits are random and differ in every
    simulation, so that trees grow as in a real search.
    """

    def prepare(self, observations: Tensor, *, num_simulations: int, seed: int) -> None:
        """Make the answers for one batch."""
        generator = torch.Generator().manual_seed(seed)
        batch = len(observations)
        root = EfficientZeroNet.initial_inference(self, observations)
        step = EfficientZeroNet.recurrent_inference(
            self, root.latents, self.initial_lstm_states(batch), torch.zeros(batch).long()
        )

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        self._root = InitialInference(
            root.latents, draw(*root.value_logits.shape), draw(*root.policy_logits.shape)
        )
        answers = (
            draw(num_simulations, *logits.shape) for logits in step[2:] if logits is not None
        )
        self._steps = [Logits(*logits) for logits in zip(*answers, strict=True)]
        self._num_answered = 0

    def initial_inference(self, observations: Tensor) -> InitialInference:
        """Return the prepared root."""
        self._num_answered = 0
        return self._root

    def recurrent_inference(
        self,
        latents: Tensor,
        lstm_states: Tensor,
        actions: Tensor,
    ) -> RecurrentInference:
        """Return the next prepared step."""
        logits = self._steps[self._num_answered]
        self._num_answered += 1
        return RecurrentInference(latents, lstm_states, *logits)

    def recurrent_inference_into(self, pools: InPlacePools, indices: Tensor, node: int) -> Logits:
        """Return the step of that node; the pools are not written, as nothing reads them."""
        del pools, indices
        return self._steps[node - 1]


class FreeSupport(ScalarSupport):
    """Takes the middle logit for the value."""

    def decode(self, logits: Tensor) -> Tensor:
        """Return one column of ``logits``, without arithmetic."""
        return logits[..., self.bound]


class BareCalls:
    """The network calls of one search, each on the answer of the last, and nothing else."""

    def __init__(
        self, network: EfficientZeroNet, observations: Tensor, num_simulations: int
    ) -> None:
        """Choose random actions; only the pools' gather and the trees are left out."""
        self._network, self._observations = network, observations
        generator = torch.Generator().manual_seed(0)
        shape = (num_simulations, len(observations))
        self._actions = torch.randint(network.spec.num_actions, shape, generator=generator)

    @torch.inference_mode()
    def run(self) -> None:
        """Call the network once for the roots and once per simulation."""
        latents = self._network.initial_inference(self._observations).latents
        lstm_states = self._network.initial_lstm_states(len(latents))
        for actions in self._actions:
            step = self._network.recurrent_inference(latents, lstm_states, actions)
            latents, lstm_states = step.latents, step.lstm_states


def measure_ratio(
    batch_size: int, *, rounds: int, config: NetworkConfig | None = None, spec: EnvSpec = ATARI
) -> list[Row]:
    """Compare a search as actors run it with its network calls made bare."""
    network = make_network(EfficientZeroNet, config or NetworkConfig(), spec)
    observations = make_observations(batch_size, spec)
    search = make_search(network, batch_size)
    bare = BareCalls(network, observations, search.num_simulations)
    run_search = partial(search.run, Roots(observations), exploration_noise=True)
    samples = cpu_seconds({"search": run_search, "bare calls": bare.run}, rounds=rounds)
    sizes = {"num_roots": batch_size, "num_simulations": search.num_simulations}
    where = f"B={batch_size} M={search.num_simulations}"
    return [
        ratio_row(
            f"search / bare calls {where}",
            samples["search"],
            samples["bare calls"],
            must=_MAX_RATIO,
        ),
        *(cost_row(f"{title} {where}", spent, **sizes) for title, spent in samples.items()),
    ]


def measure_overhead(
    batch_size: int, *, rounds: int, config: NetworkConfig | None = None, spec: EnvSpec = ATARI
) -> list[Row]:
    """Measure a search around a network that is free, with and without decoding its logits."""
    observations = make_observations(batch_size, spec)
    searches = {}
    for name, decodes in (("search, free network", True), ("free decoding too", False)):
        network = make_network(FreeNetwork, config or NetworkConfig(), spec)
        if not decodes:
            network.support = FreeSupport((config or NetworkConfig()).support_bound)
        prepare(network, observations)
        searches[name] = make_search(network, batch_size)
    samples = cpu_seconds(
        {
            name: partial(search.run, Roots(observations), exploration_noise=True)
            for name, search in searches.items()
        },
        rounds=rounds,
    )
    return [
        cost_row(
            f"{name} B={batch_size} M={search.num_simulations}",
            samples[name],
            num_roots=batch_size,
            num_simulations=search.num_simulations,
        )
        for name, search in searches.items()
    ]


@torch.no_grad()
def prepare(network: FreeNetwork, observations: Tensor) -> None:
    """Prepare for a search of the default length."""
    network.prepare(observations, num_simulations=SearchConfig().num_simulations, seed=0)


def make_network(kind: type[_Network], config: NetworkConfig, spec: EnvSpec) -> _Network:
    """Build a network with seeded random weights; heads that start at zero would only tie."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = dataclasses.replace(config, zero_init_heads=False)
        return kind(config, spec, Heads(value_prefix=True)).eval()


def make_observations(batch_size: int, spec: EnvSpec) -> Tensor:
    """Return random pixels u8 [B, *observation]."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch_size, *spec.observation_shape)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def make_search(network: EfficientZeroNet, batch_size: int) -> BatchedSearch:
    """Return a search with the default coefficients on the CPU."""
    return BatchedSearch(
        network,
        search=SearchConfig(),
        agent=AgentConfig(),
        policy_width=PolicyShape.of(network.spec).width,
        batch_size=batch_size,
        device=torch.device("cpu"),
        generator=np.random.default_rng(0),
    )

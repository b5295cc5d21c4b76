"""A real actor compared with the least work of an actor: its network's calls and its emulators.

One process, one thread, CPU time: Pong, the Atari network, 50 simulations, real searches, real
environments and real writers into a real replay. The floor makes the same network calls on the
same number of roots (gather and decoding with them, no trees) and runs the emulator for as many
frames, reading no screens.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import ale_py
import numpy as np
import torch
from torch import Tensor

from actor.actor import Actor
from benchmarks.measuring import Row
from benchmarks.pipeline.service import replay_process
from benchmarks.search.search_cost import make_network
from efficientzero.config import BudgetConfig, Config
from efficientzero.envs import make_env_batch, probe_env_spec
from efficientzero.envs.atari.game import AtariGame
from efficientzero.inference import NODES, NUM_INDEX_ROWS, LatentPool, SearchNetwork
from efficientzero.metrics import NullTracker
from efficientzero.networks import EfficientZeroNet
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.run_client import RunClient
from efficientzero.rpc.stubs import run_pb2
from efficientzero.rpc.weight_client import Weights
from efficientzero.schema import EnvSpec, Grant, Phase
from efficientzero.search import make_planner
from replay.steps import EpisodeWriter

_TURNS = 12
_FLOOR_TURNS = 6
_GAME = "ALE/Pong-v5"
_CPU = torch.device("cpu")


def measure_actor(config: Config | None = None, *, turns: int = _TURNS) -> list[Row]:
    """Play ``turns`` turns with all environments; return the rows."""
    config = config or Config()
    config = dataclasses.replace(config, budget=BudgetConfig(env_steps=10**6))
    spent, floor = _actor_us(config, turns), _floor_us(config)
    what = f"E={config.actor.num_envs} M={config.search.num_simulations}"
    return [
        Row(
            name=f"actor, env_steps/s of one core, {what}",
            value=1e6 / spent,
            unit="1/s",
            note=f"{spent:.0f} us a step; floor {floor:.0f}",
        ),
        Row(
            name=f"actor, share of the floor's env_steps/s, {what}",
            value=100.0 * floor / spent,
            unit="%",
        ),
    ]


def _actor_us(config: Config, turns: int) -> float:
    """Return CPU microseconds an env_step of the real actor's median turn, the first left out."""
    stop, num_envs = StopSignal(), config.actor.num_envs
    config = dataclasses.replace(config, env=dataclasses.replace(config.env, id=_GAME))
    envs = make_env_batch(config, seeds=range(num_envs), purpose="training")
    network = make_network(EfficientZeroNet, config.network, envs.spec)
    planner = make_planner(
        config,
        envs.spec,
        network,
        batch_size=num_envs,
        device=_CPU,
        generator=np.random.default_rng(0),
    )
    grants = _Grants(turns * num_envs)
    with (
        tempfile.TemporaryDirectory() as folder,
        replay_process(Path(folder) / "run", config, envs.spec, stop) as service,
    ):
        Actor(
            config,
            index=0,
            envs=envs,
            network=network,
            planner=planner,
            weights=_Trained(network.inference_state_dict()),
            writers=[
                EpisodeWriter(service.address, envs.spec, config, stop) for _ in range(num_envs)
            ],
            run_client=cast(RunClient, grants),
            tracker=NullTracker(),
            generator=np.random.default_rng(0),
            stop=stop,
        ).run()
        stop.set("measured")
    return 1e6 * float(np.median(np.diff(grants.asked_at_s[1:]))) / num_envs


def _floor_us(config: Config) -> float:
    """Return CPU microseconds an env_step of the network's calls and the emulator, bare."""
    num_envs, skip = config.actor.num_envs, config.env.atari.frame_skip
    games = [
        AtariGame("pong", config.env.atari, seed=seed, training=True, max_episode_steps=0)
        for seed in range(num_envs)
    ]
    for game in games:
        game.reset()
    calls = _NetworkCalls(config, probe_env_spec(dataclasses.replace(config.env, id=_GAME)))
    calls.run()
    spent = []
    for _ in range(_FLOOR_TURNS):
        started = time.process_time()
        calls.run()
        for game in games:
            for _ in range(skip):
                game.emulator.act(ale_py.Action.NOOP)
        spent.append(time.process_time() - started)
    return 1e6 * float(np.median(spent)) / num_envs


class _NetworkCalls:
    """The calls of one search, by the backend that searches use, each node from the last."""

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        num_envs, self._num_simulations = config.actor.num_envs, config.search.num_simulations
        self._network = SearchNetwork(
            make_network(EfficientZeroNet, config.network, spec),
            backend=config.search.inference_backend,
            precision=config.search.precision,
            batch_size=num_envs,
        )
        self._pool = LatentPool(self._network, num_envs, num_nodes=self._num_simulations + 1)
        self._observations = torch.zeros((num_envs, *spec.observation_shape), dtype=torch.uint8)
        self._indices = torch.zeros((NUM_INDEX_ROWS, num_envs), dtype=torch.int32)

    @torch.inference_mode()
    def run(self) -> None:
        """Call the network once for the roots and once per simulation."""
        self._pool.write_roots(self._network.initial_inference(self._observations).latents)
        for node in range(1, self._num_simulations + 1):
            self._indices[NODES] = node
            self._pool.step(self._indices, node)


class _Grants:
    """A learner that grants every request and notes the CPU time of each."""

    latest_train_step = 1

    def __init__(self, budget: int) -> None:
        self._budget, self._granted = budget, 0
        self.asked_at_s: list[float] = []

    def acquire_env_steps(
        self, actor_index: int, *, completed: int, wanted: int, wait_s: float
    ) -> Grant:
        """Grant all of it until the budget is spent."""
        del actor_index, completed, wait_s
        if wanted:
            self.asked_at_s.append(time.process_time())
        granted, before = min(wanted, self._budget - self._granted), self._granted
        self._granted += granted
        return Grant(granted, granted == 0, Phase.COLLECTING, 1.0, before)

    def report_episodes(self, actor_index: int, episodes: Iterable[tuple[float, int]]) -> bool:
        """Take results."""
        del actor_index, episodes
        return True

    def status(self) -> run_pb2.RunStatus:
        """Return counters of nothing."""
        return run_pb2.RunStatus()


class _Trained:
    """Weights that are available from the start, as if after one train_step."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self._newest: Weights | None = Weights(state, 1, 1)

    def wait_first(self, what: str) -> bool:
        """Return at once."""
        del what
        return True

    def take_newer(self) -> Weights | None:
        """Return the weights once."""
        newest, self._newest = self._newest, None
        return newest

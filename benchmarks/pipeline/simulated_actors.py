"""Actors whose network takes a fixed time and no processor; everything else is real.

Run as a module: imports once, then for each line of JSON on stdin forks that many actor processes
and answers with a line of JSON when their collection has ended. Each is the real ``Actor`` with
the real writers, run client and weight client; its search sleeps, and its environments repeat
real frames, so that many actors fit on few cores.
"""

from __future__ import annotations

import json
import multiprocessing  # noqa: TID251  recv raises at the end of a process
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from actor.actor import Actor
from benchmarks.pipeline.frames import PlayedGame, play_game
from efficientzero.config import Config, config_from_dict
from efficientzero.envs.hang_watch import Call
from efficientzero.metrics import NullTracker
from efficientzero.networks import EfficientZeroNet
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.run_client import RunClient
from efficientzero.rpc.stubs import weights_pb2
from efficientzero.rpc.weight_client import WeightClient
from efficientzero.schema import EnvSteps, Observed, PolicyShape, Roots, SearchResult
from efficientzero.search import UniformPlanner
from replay.steps import EpisodeWriter

WEIGHTS = {"weight": torch.zeros(1)}
"""All tensors of the simulated network."""
_GAME, _STEPS_PER_EPISODE = "Pong", 200
_JOIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order to simulate actors."""

    replay_address: str
    learner_address: str
    config: dict[str, Any]  # as JSON
    latency_s: float  # of one search


class RepeatedGame:
    """An EnvBatch that shows the same real episode in every environment, at no cost."""

    def __init__(self, game: PlayedGame, num_envs: int) -> None:
        self.spec, self.num_envs = game.spec, num_envs
        self._frames = game.frames
        self._places = np.zeros(num_envs, np.int64)

    def reset(self, indices: Sequence[int]) -> Observed:
        """Go back to the first frame."""
        self._places[list(indices)] = 0
        return Observed(self._frames[np.zeros(len(indices), np.int64)])

    def step(self, indices: Sequence[int], actions: NDArray[np.integer[Any]]) -> EnvSteps:
        """Show the next frame; the last one is a time limit."""
        del actions
        rows = list(indices)
        self._places[rows] += 1
        at_end = self._places[rows] == len(self._frames) - 1
        nothing = np.zeros(len(rows), np.bool_)
        rewards = np.zeros(len(rows), np.float32)
        observed = Observed(self._frames[self._places[rows]])
        return EnvSteps(observed, rewards, nothing, at_end, at_end)

    def close(self) -> None:
        """Do nothing."""

    def oldest_call(self) -> Call | None:
        """Return None: nothing is called."""
        return None


class SleepingPlanner(UniformPlanner):
    """Takes ``latency_s`` and finds nothing; remembers when it was asked."""

    def __init__(self, config: Config, policy_width: int, latency_s: float) -> None:
        super().__init__(policy_width, np.random.default_rng(0))
        self.num_simulations = config.search.num_simulations
        self.batch_size = config.actor.num_envs
        self.started_at: list[float] = []
        self._latency_s = latency_s

    def run(self, roots: Roots, *, exploration_noise: bool) -> SearchResult:
        """Sleep."""
        self.started_at.append(time.monotonic())
        time.sleep(self._latency_s)
        return super().run(roots, exploration_noise=exploration_noise)


class _NoNetwork:
    def load_inference_state_dict(self, state: object) -> None:
        """Take new weights."""


def _play(order: Order, game: PlayedGame, index: int, pipe: Any) -> None:  # noqa: ANN401
    config, stop = config_from_dict(order.config), StopSignal()
    policy = PolicyShape.of(game.spec, config.search.sampled_actions)
    planner = SleepingPlanner(config, policy.width, order.latency_s)
    num_envs = config.actor.num_envs
    # So that not all of them are awake at the same time.
    time.sleep(order.latency_s * index / config.cluster.num_actors)
    Actor(
        config,
        index=index,
        envs=RepeatedGame(game, num_envs),
        network=cast(EfficientZeroNet, _NoNetwork()),
        planner=planner,
        weights=WeightClient(order.learner_address, weights_pb2.LATEST, WEIGHTS, stop),
        writers=[
            EpisodeWriter(order.replay_address, game.spec, config, stop) for _ in range(num_envs)
        ],
        run_client=RunClient(order.learner_address, stop),
        tracker=NullTracker(),
        generator=np.random.default_rng(index),
        stop=stop,
    ).run()
    stop.set("finished")
    pipe.send(planner.started_at)


def _simulate(order: Order, game: PlayedGame) -> list[list[float]]:
    """Return when each actor began its searches."""
    fork = multiprocessing.get_context("fork")  # after the imports, before any client
    pipes, processes = [], []
    for index in range(order.config["cluster"]["num_actors"]):
        receiver, sender = fork.Pipe(duplex=False)
        process = fork.Process(target=_play, args=(order, game, index, sender), daemon=True)
        process.start()
        sender.close()
        pipes.append(receiver)
        processes.append(process)
    answers = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join(_JOIN_S)
        process.kill()
    return answers


def main() -> None:
    """Answer orders until stdin ends."""
    torch.set_num_threads(1)
    game = play_game(_GAME, _STEPS_PER_EPISODE)
    for line in sys.stdin:
        print(json.dumps(_simulate(Order(**json.loads(line)), game)), flush=True)


if __name__ == "__main__":
    main()

"""The evaluator: greedy episodes on the newest weights, nothing recorded.

Run by launch.py as ``python -m actor.evaluator --config runs/<id>/config.json``. It evaluates
every ``evaluator.interval_train_steps``, once more when training has finished, and then ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np
import torch

from actor.episode import GameResult, GameTally
from efficientzero.config import Config
from efficientzero.devices import setup_torch
from efficientzero.envs import EnvBatch, make_env_batch
from efficientzero.envs.frame_stack import FrameStack
from efficientzero.metrics.tracker import Tracker
from efficientzero.networks import EfficientZeroNet
from efficientzero.role_arguments import RoleArguments, parse_role_arguments
from efficientzero.rpc import run_pb2, weights_pb2
from efficientzero.rpc.run_client import RunClient
from efficientzero.rpc.weight_client import WeightClient
from efficientzero.run_folder import RunInfo
from efficientzero.run_tracking import run_tracker
from efficientzero.runtime import StopSignal, generator, leave, run_role, seed_sequence
from efficientzero.search import BatchedSearch

ROLE = "evaluator"
_POLL_S = 1.0

log = logging.getLogger(__name__)


def play_episodes(
    envs: EnvBatch, search: BatchedSearch, stop: StopSignal
) -> list[GameResult] | None:
    """Play one greedy game in each environment, side by side.

    Returns:
        One result per environment, or None if a stop was asked for first.
    """
    stack = FrameStack(envs.spec, envs.num_envs)
    tallies = [GameTally() for _ in range(envs.num_envs)]
    results: dict[int, GameResult] = {}
    playing = list(range(envs.num_envs))
    for i, frame in zip(playing, envs.reset(playing), strict=True):
        stack.reset(i, frame)
    while playing:
        if stop.is_set():
            return None
        searched = search.run(stack.observations()[playing], exploration_noise=False)
        steps = envs.step(playing, searched.best_actions)
        for slot, i in enumerate(playing):
            stack.push(i, steps.frames[slot])
            over = bool(steps.game_over[slot] or steps.truncated[slot])
            result = tallies[i].add(float(steps.rewards[slot]), game_over=over)
            if result is not None:
                results[i] = result
        playing = [i for i in playing if i not in results]
    return [results[i] for i in range(envs.num_envs)]


class Evaluator:
    """Evaluates the newest weights at intervals and at the end."""

    def __init__(
        self,
        run: RunInfo,
        *,
        device: torch.device,
        tracker: Tracker,
        randomness: np.random.Generator,
        stop: StopSignal,
    ) -> None:
        """Build network and clients."""
        self._run, self._config, self._device = run, run.config, device
        self._tracker, self._randomness, self._stop = tracker, randomness, stop
        self._network = (
            EfficientZeroNet(
                run.config.network, run.env_spec, value_prefix=run.config.agent.value_prefix
            )
            .to(device)
            .eval()
        )
        self._run_client = RunClient(run.learner_address, stop)
        self._weights = WeightClient(
            run.learner_address, weights_pb2.LATEST, self._network.inference_state_dict(), stop
        )
        self._train_step = 0

    def run(self) -> None:
        """Evaluate until the final evaluation is made or a stop is asked for."""
        if not self._weights.wait_first("the first weights"):
            return
        interval = self._config.evaluator.interval_train_steps
        due = interval
        while not self._stop.is_set():
            status = self._run_client.status()
            finished = status is not None and status.phase == run_pb2.FINISHED
            self._take_weights()
            if finished and self._train_step >= self._config.budget.total_train_steps:
                self._evaluate(is_final=True)
                return
            if not finished and self._train_step >= due:
                self._evaluate(is_final=False)
                due = (self._train_step // interval + 1) * interval
            self._stop.wait(_POLL_S)

    def _evaluate(self, *, is_final: bool) -> None:
        started = time.monotonic()
        config = self._config
        num_envs = (
            config.evaluator.final_num_episodes if is_final else config.evaluator.num_episodes
        )
        limit = (
            config.env.final_eval_max_episode_steps if is_final else config.env.max_episode_steps
        )
        envs = make_env_batch(
            config.env,
            num_envs=num_envs,
            seeds=evaluation_seeds(config, num_envs),
            training=False,
            max_episode_steps=limit,
        )
        try:
            results = play_episodes(envs, self._search(num_envs), self._stop)
        finally:
            envs.close()
        if results is None:
            return
        seconds = time.monotonic() - started
        returns = [r.episode_return for r in results]
        self._run_client.report_evaluation(
            weights_version=self._train_step,
            is_final=is_final,
            episodes=[(r.episode_return, r.length) for r in results],
            seconds=seconds,
        )
        self._tracker.log(
            {
                "eval/train_steps": self._train_step,
                "eval/return_mean": float(np.mean(returns)),
                "eval/return_median": float(np.median(returns)),
                "eval/return_min": min(returns),
                "eval/return_max": max(returns),
                "eval/length_mean": float(np.mean([r.length for r in results])),
                "eval/seconds": seconds,
            }
        )
        log.info(
            "%sevaluation at train_step %d: mean return %.2f over %d episodes (%.1f s)",
            "final " * is_final,
            self._train_step,
            np.mean(returns),
            len(returns),
            seconds,
        )

    def _search(self, num_envs: int) -> BatchedSearch:
        return BatchedSearch(
            self._network,
            search=self._config.search,
            agent=self._config.agent,
            compat=self._config.compat,
            num_actions=self._run.env_spec.num_actions,
            batch_size=num_envs,
            device=self._device,
            generator=self._randomness,
        )

    def _take_weights(self) -> None:
        newer = self._weights.take_newer()
        if newer is not None:
            self._network.load_inference_state_dict(newer.state_dict)
            self._train_step = newer.train_step


def evaluation_seeds(config: Config, num_envs: int) -> Sequence[int]:
    """Return the environments' seeds: the same at every evaluation of a run."""
    state = seed_sequence(config.seed, ROLE, 0, 0).generate_state(num_envs)
    return [int(seed) for seed in state]


def main(arguments: RoleArguments, stop: StopSignal) -> None:
    """Build the evaluator and run it."""
    run = arguments.run
    device = setup_torch(run.config.cluster)
    tracker = run_tracker(run, ROLE, arguments.index, arguments.incarnation)
    randomness = generator(run.config.seed, ROLE, arguments.index, 1)
    try:
        Evaluator(run, device=device, tracker=tracker, randomness=randomness, stop=stop).run()
    finally:
        tracker.close()


if __name__ == "__main__":
    parsed = parse_role_arguments("actor.evaluator", __doc__)
    leave(run_role(ROLE, parsed.index, lambda stop: main(parsed, stop)))

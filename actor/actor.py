"""The actor's loop: ask for steps -> observe -> search -> act -> record.

Built by ``actor.__main__``. E environments move in lock step with one batched search. How many
env_steps may be played is the learner's to say: each turn asks for E of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from actor.action_sampling import sample_actions
from actor.episode import GameResult, GameTally
from efficientzero.config import Config
from efficientzero.envs import EnvBatch
from efficientzero.envs.frame_stack import FrameStack
from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.metrics.tracker import Tracker
from efficientzero.networks import EfficientZeroNet
from efficientzero.rpc.run_client import RunClient
from efficientzero.rpc.weight_client import WeightClient
from efficientzero.runtime import StopSignal, WaitReason
from efficientzero.schedules import temperature
from efficientzero.schema import I64, Ending, EnvSteps, Frames, ReplayStep, SearchResult
from efficientzero.search import BatchedSearch, uniform_search_result

_WAIT_S = 1.0
_HAND_OVER_S = 3.0

log = logging.getLogger(__name__)


class EpisodeSink(Protocol):
    """Where one environment's steps go."""

    def append(self, step: ReplayStep) -> None:
        """Add one env_step."""

    def end(self, last_frame: Frames, ending: Ending) -> None:
        """Close the episode with its last frame."""

    def close(self) -> None:
        """Send what is left."""


class Actor:
    """Plays E environments and records what happens."""

    def __init__(
        self,
        config: Config,
        *,
        index: int,
        envs: EnvBatch,
        network: EfficientZeroNet,
        search: BatchedSearch,
        weights: WeightClient,
        writers: Sequence[EpisodeSink],
        run_client: RunClient,
        tracker: Tracker,
        generator: np.random.Generator,
        stop: StopSignal,
    ) -> None:
        """Keep the parts.

        Args:
            config: the run's config.
            index: which actor this is.
            envs: E environments.
            network: in eval mode; gets the latest weights.
            search: on the same network, for E roots.
            weights: client of the ``latest`` weights.
            writers: one per environment.
            run_client: grants env_steps, takes results.
            tracker: metrics.
            generator: for action sampling.
            stop: ends ``run``.
        """
        self._config, self._index, self._envs, self._network = config, index, envs, network
        self._search, self._weights, self._writers, self._run_client = (
            search,
            weights,
            writers,
            run_client,
        )
        self._tracker, self._generator, self._stop = tracker, generator, stop
        self._timer = SectionTimer("actor")
        self._stack = FrameStack(envs.spec, envs.num_envs)
        self._frames: list[Frames] = [
            np.empty(0)
        ] * envs.num_envs  # newest frame of each environment
        self._is_recording = [False] * envs.num_envs  # the episode has steps and is not closed
        self._tallies = [GameTally() for _ in range(envs.num_envs)]
        self._train_step = 0
        self._completed = 0  # env_steps not yet reported
        self._env_steps, self._logged_env_steps, self._logged_at = 0, 0, time.monotonic()
        self._results: list[GameResult] = []

    def run(self) -> None:
        """Play until the run's env_steps are collected or a stop is asked for."""
        if not self._weights.wait_first("the first weights"):
            return
        self._take_weights()
        self._reset(range(self._envs.num_envs))
        while not self._stop.is_set():
            with self._timer.section("wait_pace"):
                granted = self._acquire()
            if granted == 0:
                break
            with self._timer.section("weights"):
                self._take_weights()
            self._turn(granted)
            self._log_when_due()
        with self._timer.section("wait_replay"):
            self._cut_episodes()
        log.info("played %d env_steps", self._env_steps)

    def _turn(self, num_envs: int) -> None:
        """Play one env_step in each of the first ``num_envs`` environments."""
        indices = range(num_envs)
        with self._timer.section("search"):
            result = self._think(self._stack.observations()[:num_envs])
        actions = sample_actions(
            result.visit_counts,
            temperature(self._train_step, self._config.actor, self._config.budget),
            self._generator,
        )
        with self._timer.section("envs"):
            steps = self._envs.step(indices, actions)
        with self._timer.section("record"):
            self._record(result, actions, steps)
        ended = [i for i in indices if steps.terminated[i] or steps.truncated[i]]
        if ended:
            with self._timer.section("reset"):
                self._reset(ended)
        self._completed += num_envs
        self._env_steps += num_envs

    def _think(self, observations: Frames) -> SearchResult:
        if self._train_step == 0:
            return uniform_search_result(len(observations), self._envs.spec.num_actions)
        return self._search.run(observations, exploration_noise=True)

    def _record(self, result: SearchResult, actions: I64, steps: EnvSteps) -> None:
        rewards = np.sign(steps.rewards) if self._config.env.clip_rewards else steps.rewards
        policies = result.policies()
        for i in range(len(actions)):
            self._writers[i].append(
                ReplayStep(
                    frame=self._frames[i],
                    action=int(actions[i]),
                    reward=float(rewards[i]),
                    search_policy=policies[i],
                    root_value=float(result.root_values[i]),
                    predicted_value=float(result.predicted_values[i]),
                    weights_version=self._train_step,
                )
            )
            self._is_recording[i] = True
            self._frames[i] = steps.frames[i].copy()
            self._stack.push(i, self._frames[i])
            if steps.terminated[i] or steps.truncated[i]:
                ending = Ending.TERMINATED if steps.terminated[i] else Ending.TRUNCATED
                self._writers[i].end(self._frames[i], ending)
                self._is_recording[i] = False
            finished = self._tallies[i].add(
                float(steps.rewards[i]), game_over=bool(steps.game_over[i] or steps.truncated[i])
            )
            if finished is not None:
                self._results.append(finished)

    def _reset(self, indices: Sequence[int]) -> None:
        for i, frame in zip(indices, self._envs.reset(indices), strict=True):
            self._frames[i] = frame.copy()
            self._stack.reset(i, self._frames[i])

    def _cut_episodes(self) -> None:
        """Hand over running episodes: collection ended, the task did not, so they are truncated.

        When asked to stop, replay may be gone already: what it does not take soon is left behind.
        """
        started = time.monotonic()
        for i, writer in enumerate(self._writers):
            if self._stop.is_set() and time.monotonic() - started > _HAND_OVER_S:
                log.warning("replay takes no more: %d episodes are lost", len(self._writers) - i)
                return
            if self._is_recording[i]:
                writer.end(self._frames[i], Ending.TRUNCATED)
            writer.close()

    def _acquire(self) -> int:
        """Return how many environments may step now; 0 at the end of collection or on stop."""
        reason = WaitReason("the learner to allow more env_steps", after_s=60.0)
        while not self._stop.is_set():
            self._report_results()
            grant = self._run_client.acquire_env_steps(
                self._index, completed=self._completed, wanted=self._envs.num_envs, wait_s=_WAIT_S
            )
            self._completed = 0
            if grant.granted or grant.collection_ended:
                return grant.granted
            reason.tick()
        return 0

    def _report_results(self) -> None:
        if self._results:
            self._run_client.report_episodes(
                self._index, [(r.episode_return, r.length) for r in self._results]
            )
            self._results = []

    def _take_weights(self) -> None:
        newer = self._weights.take_newer()
        if newer is not None:
            self._network.load_inference_state_dict(newer.state_dict)
            self._train_step = newer.train_step

    def _log_when_due(self) -> None:
        now = time.monotonic()
        elapsed = now - self._logged_at
        if elapsed < self._config.cluster.metrics_interval_seconds:
            return
        env_steps_per_s = (self._env_steps - self._logged_env_steps) / elapsed
        self._tracker.log(
            {
                "actor/env_steps": self._env_steps,
                "actor/train_steps": self._train_step,
                "actor/env_steps_per_s": env_steps_per_s,
                "actor/simulations_per_s": env_steps_per_s * self._search.num_simulations,
                "actor/temperature": temperature(
                    self._train_step, self._config.actor, self._config.budget
                ),
                **self._timer.row(),
            }
        )
        self._logged_at, self._logged_env_steps = now, self._env_steps

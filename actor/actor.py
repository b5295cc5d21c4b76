"""The actor's loop: ask for steps -> observe -> search -> act -> record.

Built by ``actor.__main__``. E environments move in lock step with one batched search; or,
pipelined, one half searches while the other half's environments step in a thread. The
learner limits the number of env_steps: the actor requests each one before it plays it.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor  # noqa: TID251  each future is read

import numpy as np

from actor.actions import ActionChooser, LegalShares
from actor.game_results import FinishedGames
from actor.matches.self_play import SelfPlay
from actor.recorder import EpisodeSink, Recorder
from actor.turn import Group, PendingStep, halves_take_turns, make_groups
from efficientzero.config import Config
from efficientzero.envs import EnvBatch, EnvError, FrameStack
from efficientzero.metrics import (
    Interval,
    ProcessUsage,
    Pulse,
    SearchRates,
    SearchStatistics,
    SectionTimer,
    Tracker,
)
from efficientzero.networks import EfficientZeroNet
from efficientzero.process.runtime import StopSignal, WaitReason
from efficientzero.rpc.run_client import RunClient
from efficientzero.rpc.weight_client import WeightSource
from efficientzero.schema import EnvSteps, Grant, PolicyShape
from efficientzero.search import Planner, UniformPlanner

_WAIT_S = 1.0

log = logging.getLogger(__name__)


class Actor:
    """Plays E environments and records their steps."""

    def __init__(
        self,
        config: Config,
        *,
        index: int,
        envs: EnvBatch,
        network: EfficientZeroNet,
        planner: Planner,
        weights: WeightSource,
        writers: Sequence[EpisodeSink],
        run_client: RunClient,
        tracker: Tracker,
        generator: np.random.Generator,
        stop: StopSignal,
        opponents: SelfPlay | None = None,
    ) -> None:
        """Store the parts.

        Args:
            config: the run's config.
            index: which actor this is.
            envs: E environments.
            network: in eval mode; receives the latest weights.
            planner: on the same network, for E roots.
            weights: client of the ``latest`` weights.
            writers: one per environment.
            run_client: requests env_steps, reports results.
            tracker: metrics.
            generator: for action sampling.
            stop: ends ``run``.
            opponents: with whom some of the games are; None: the network plays all moves.
        """
        self._config, self._index, self._envs, self._network = config, index, envs, network
        self._planner, self._weights, self._run_client = planner, weights, run_client
        policy = PolicyShape.of(envs.spec, config.search.sampled_actions)
        self._uniform = UniformPlanner(
            policy.width, generator.spawn(1)[0], action_size=policy.action_size
        )
        self._tracker, self._stop = tracker, stop
        self._chooser = ActionChooser(
            config, envs.num_envs, generator, plays_best=planner.plays_best
        )
        self._timer, self._usage = SectionTimer("actor"), ProcessUsage("actor")
        self.pulse = Pulse(self._timer, "env_steps/s")
        """Rate and current wait, sent with heartbeats."""
        self._search_rates = SearchRates(
            "actor", num_simulations=planner.num_simulations, batch_size=planner.batch_size
        )
        self._stack = FrameStack(envs.spec, envs.num_envs)
        self._recorder = Recorder(config, writers)
        self._searches, self._legal_shares = SearchStatistics("actor"), LegalShares()
        self._games, self._opponents = FinishedGames(envs.num_envs), opponents or SelfPlay()
        halves = halves_take_turns(config, on_gpu=planner.on_gpu)
        self._groups = make_groups(envs.num_envs, halves=halves)
        self._train_step, self._weights_at = 0, time.monotonic()
        self._completed = 0  # env_steps not yet reported
        self._env_steps = 0
        self._interval = Interval(config.cluster.metrics_interval_seconds)

    def run(self) -> None:
        """Play until the run's env_steps are collected or a stop is requested."""
        with self._timer.section("wait_weights"):
            if not self._weights.wait_first("the first weights"):
                return
        self._take_weights()
        failure = self._play()
        with self._timer.section("wait_replay"):
            self._recorder.cut(self._stop)
        self._report()  # last: a deterministic run then trains on; all steps are in replay
        self._log()
        log.info("played %d env_steps", self._env_steps)
        if failure is not None:
            raise failure

    def _play(self) -> EnvError | None:
        """Play; return the error of an environment, if one ended the loop.

        The steps of the other environments are recorded all the same.
        """
        try:
            self._reset(range(self._envs.num_envs))
            with ThreadPoolExecutor(1, "envs") as stepper:
                for group in itertools.cycle(self._groups):
                    self._finish(group)
                    if self._stop.is_set() or not self._begin(group, stepper):
                        break
                self._finish_all()
        except EnvError as failure:
            for group in self._groups:
                try:
                    self._finish(group)
                except EnvError as another:
                    log.error("%s", another)
            return failure
        return None

    def _begin(self, group: Group, stepper: Executor) -> bool:
        """Choose the group's actions and send them to its environments.

        Returns:
            False when no env_step was granted: collection has ended, or a stop was requested.
        """
        grant = self._acquire(len(group.envs))
        if grant is None:
            return False
        with self._timer.section("weights"):
            self._take_weights()
        playing = group.envs[: grant.granted]
        planner = self._uniform if grant.is_random else self._planner
        with self._timer.section("search"):
            roots = self._stack.roots(playing)
            thought = self._opponents.think(planner, playing, roots, is_random=grant.is_random)
        self._legal_shares.add(roots.legal_actions)
        if planner.num_simulations:
            self._search_rates.add(len(playing))
            self._searches.add(thought.own)
        slots = self._chooser.choose(
            thought.result,
            playing,
            self._train_step,
            legal_actions=roots.legal_actions,
            is_random=grant.is_random,
        )
        actions = thought.result.actions_in(thought.played(slots))
        steps = stepper.submit(self._envs.step, playing, actions)
        group.pending = PendingStep(playing, grant, thought, actions, self._train_step, steps)
        return True

    def _finish_all(self) -> None:
        for group in self._groups:
            self._finish(group)

    def _finish(self, group: Group) -> None:
        """Record the results of the group's pending env_step.

        Raises:
            EnvError: one environment failed; the results of the others are recorded.
        """
        pending, group.pending = group.pending, None
        if pending is None:
            return
        failure = None
        with self._timer.section("envs"):
            try:
                steps = pending.steps.result()
            except EnvError as error:
                if error.steps is None:
                    raise
                failure = error
                pending, steps = pending.without(error.failed_rows, error.steps)
        with self._timer.section("record"):
            self._record(pending, steps)
        self._completed += len(pending.envs)
        self._env_steps += len(pending.envs)
        self.pulse.work = self._env_steps
        if failure is not None:
            raise failure
        has_ended = steps.terminated | steps.truncated
        ended = [i for i, over in zip(pending.envs, has_ended, strict=True) if over]
        if ended:
            with self._timer.section("reset"):
                self._reset(ended)
        self._log_when_due()

    def _record(self, pending: PendingStep, steps: EnvSteps) -> None:
        self._recorder.record(pending, steps)
        self._stack.push(pending.envs, steps.observed)
        ended = self._games.add(pending.envs, steps, self._opponents.players)
        self._opponents.moved(pending, steps, ended)

    def _reset(self, indices: Sequence[int]) -> None:
        observed = self._envs.reset(indices)
        self._stack.reset(indices, observed)
        self._recorder.start(indices, observed)
        self._opponents.begin(indices, observed)
        for i in indices:
            self._chooser.reset(i)

    def _acquire(self, wanted: int) -> Grant | None:
        """Return the grant of up to ``wanted``; None at the end of collection or on stop."""
        reason = WaitReason("the learner to allow more env_steps", after_s=60.0)
        while not self._stop.is_set():
            with self._timer.section("wait_pace"):
                grant = self._report(wanted)
            if grant.granted or grant.collection_ended:
                return grant if grant.granted else None
            # The learner may be waiting for env_steps that this actor holds and has not reported.
            self._finish_all()
            self._log_when_due()
            reason.tick()
        return None

    def _report(self, wanted: int = 0) -> Grant:
        """Report the env_steps played since the last report, and request more."""
        if self._games.not_reported:
            self._run_client.report_episodes(self._index, self._games.not_reported)
            self._games.reported()
        self._opponents.report()
        completed, self._completed = self._completed, 0
        return self._run_client.acquire_env_steps(
            self._index, completed=completed, wanted=wanted, wait_s=_WAIT_S if wanted else 0.0
        )

    def _take_weights(self) -> None:
        newer = self._weights.take_newer()
        if newer is not None:
            self._network.load_inference_state_dict(newer.state_dict)
            self._train_step, self._weights_at = newer.train_step, time.monotonic()
            self.pulse.weights_train_step = self._train_step

    def _log_when_due(self) -> None:
        if self._interval.is_over():
            with self._timer.section("log"):
                self._log()

    def _log(self) -> None:
        bytes_sent = self._recorder.bytes_sent
        elapsed_s, per_s = self._interval.restart(env_steps=self._env_steps, bytes=bytes_sent)
        row = {
            "actor/env_steps": self._env_steps,
            "actor/train_steps": self._train_step,
            "actor/episodes": self._games.count,
            "actor/num_envs": self._envs.num_envs,
            "actor/env_steps_per_s": per_s["env_steps"],
            "actor/sent_bytes": bytes_sent,
            "actor/sent_bytes_per_s": per_s["bytes"],
            "actor/weights_age_s": time.monotonic() - self._weights_at,
            **self._chooser.row(self._train_step),
            **self._staleness(),
            **self._games.take_row(),
            **self._opponents.take_row(self._train_step),
            **self._searches.take_row(),
            **self._legal_shares.take_row(),
            **self._search_rates.row(elapsed_s),
            **self._usage.row(),
            **self._timer.row(),
        }
        self._tracker.log(row)

    def _staleness(self) -> dict[str, float]:
        """Return how far the learner is ahead of the weights in use; empty after a stop."""
        status = self._run_client.status()
        if status is None:
            return {}
        behind = max(0, status.train_steps - self._train_step)
        return {"actor/weights_age_train_steps": behind}

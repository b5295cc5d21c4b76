"""The evaluator: greedy episodes on the newest weights, nothing recorded.

``python -m actor.evaluator --join HOST:PORT``, the address of a run's learner. It evaluates
every ``evaluator.interval_train_steps``, once more when training has finished, and then ends.
``python launch.py evaluate`` plays with a run's saved weights instead.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from actor.game_results import GameResult
from actor.games import Actions, Chooser, evaluation_seeds, partly_random, play_episodes
from actor.matches.evaluation import BaselineOpponents, score_metrics, scores_by_seat
from actor.matches.ladder import Ladder
from actor.matches.league_client import LeagueClient
from actor.matches.play import MatchResult
from actor.value_bias import ValueBias
from efficientzero.config import next_evaluation, planning_discount
from efficientzero.envs import EnvBatch, make_env_batch
from efficientzero.envs.atari.scores import atari100k_game, human_normalized
from efficientzero.envs.hang_watch import Call, hang_in_words, watch_for_hangs
from efficientzero.metrics import Interval, ProcessUsage, Pulse, SearchRates, SectionTimer, Tracker
from efficientzero.networks import make_network
from efficientzero.process.devices import setup_torch
from efficientzero.process.runtime import StopSignal, exit_now, generator
from efficientzero.rpc.run_client import RunClient
from efficientzero.rpc.stubs import run_pb2, weights_pb2
from efficientzero.rpc.weight_client import WeightClient
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import Roots
from efficientzero.search import make_planner
from efficientzero.worker import Place, run_worker, tracked

ROLE = "evaluator"
_POLL_S = 1.0

log = logging.getLogger(__name__)


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
        member: int | None = None,
    ) -> None:
        """Build network and clients; ``member`` has the evaluator's slot."""
        self._run, self._config, self._device = run, run.config, device
        self._tracker, self._randomness, self._stop = tracker, randomness, stop
        self._network = make_network(run.config, run.env_spec, training=False).to(device).eval()
        self._run_client = RunClient(run.learner_address, stop, member=member)
        self._weights = WeightClient(
            run.learner_address, weights_pb2.LATEST, self._network.inference_state_dict(), stop
        )
        self._train_step, self._env_steps = 0, 0
        self._timer, self._usage = SectionTimer(ROLE), ProcessUsage(ROLE)
        self.pulse = Pulse(self._timer, "evaluations/s")
        """Rate and current wait, sent with heartbeats."""
        self._evaluations = 0
        self._interval = Interval(self._config.cluster.metrics_interval_seconds)
        self._envs: EnvBatch | None = None  # of the current evaluation
        self._opponents = self._ladder = None
        if run.env_spec.num_players > 1:
            self._opponents = BaselineOpponents(run.config, randomness.spawn(1)[0])
        if run.config.league.has_pool:
            client = LeagueClient(self._run_client, run.learner_address, stop, role=ROLE, index=0)
            chance = randomness.spawn(1)[0]
            self._ladder = Ladder(run, client, device=device, generator=chance, stop=stop)

    def oldest_call(self) -> Call | None:
        """Return the call of an environment that has not returned yet; from any thread."""
        envs = self._envs
        return None if envs is None else envs.oldest_call()

    def run(self) -> None:
        """Evaluate until the final evaluation is made or a stop is requested."""
        with self._timer.section("wait_weights"):
            if not self._weights.wait_first("the first weights"):
                return
        self._play_on()
        self._log_usage()

    def _play_on(self) -> None:
        """Evaluate whenever it is due, and a last time."""
        due = next_evaluation(0, self._config.evaluator)
        while not self._stop.is_set():
            with self._timer.section("wait_status"):
                status = self._run_client.status()
            finished = status is not None and status.phase == run_pb2.FINISHED
            self._env_steps = status.env_steps if status is not None else self._env_steps
            with self._timer.section("weights"):
                self._take_weights()
            if finished and self._train_step >= self._config.budget.total_train_steps:
                self._evaluate(is_final=True)
                return
            if not finished and self._train_step >= due:
                self._evaluate(is_final=False)
                due = next_evaluation(self._train_step, self._config.evaluator)
            if self._interval.is_over():
                self._log_usage()
            with self._timer.section("wait_due"):
                self._stop.wait(_POLL_S)

    def _evaluate(self, *, is_final: bool) -> None:
        started = time.monotonic()
        config = self._config
        num_envs = (
            config.evaluator.final_num_episodes if is_final else config.evaluator.num_episodes
        )
        with self._timer.section("setup"):
            planner = make_planner(
                config,
                self._run.env_spec,
                self._network,
                batch_size=max(num_envs, config.league.ladder_games),
                device=self._device,
                generator=self._randomness,
                simulations=config.evaluator_simulations,
            )
        rates = SearchRates(
            ROLE, num_simulations=planner.num_simulations, batch_size=planner.batch_size
        )
        bias = ValueBias(
            num_envs,
            discount=planning_discount(config.agent, config.search),
            clip_rewards=config.env.clip_rewards,
        )

        def choose(roots: Roots) -> Actions:
            if planner.num_simulations:
                rates.add(len(roots))
            with self._timer.section("search"):
                found = planner.run(roots, exploration_noise=False)
            bias.predict(found.predicted_values)
            epsilon = config.evaluator.epsilon
            return partly_random(found, roots.legal_actions, epsilon, self._randomness)

        matches: dict[str, MatchResult] | None = {}
        results: Sequence[GameResult] | None
        if self._opponents is not None:
            matches = self._opponents.play(choose, num_envs, is_final=is_final, stop=self._stop)
            results = None if matches is None else next(iter(matches.values())).results
        else:
            results = self._play_alone(choose, num_envs, bias, is_final=is_final)
        if results is None or matches is None:
            return
        seconds = time.monotonic() - started
        returns = [r.episode_return for r in results]
        if self._ladder is not None and not self._ladder.play(choose, matches, self._train_step):
            return
        with self._timer.section("report"):
            self._run_client.report_evaluation(
                weights_version=self._train_step,
                is_final=is_final,
                episodes=[(r.episode_return, r.length) for r in results],
                seconds=seconds,
                scores=scores_by_seat(matches),
            )
        self._evaluations += 1
        self.pulse.work += 1
        self._tracker.log(
            {
                "eval/train_steps": self._train_step,
                "eval/env_steps": self._env_steps,
                "eval/is_final": int(is_final),
                "eval/length_mean": float(np.mean([r.length for r in results])),
                "eval/seconds": seconds,
                **({} if math.isnan(bias.mean()) else {"eval/value_bias": bias.mean()}),
                **return_statistics(returns, config.env.id),
                **score_metrics(matches),
                **rates.row(seconds),
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

    def _play_alone(
        self, choose: Chooser, num_envs: int, bias: ValueBias, *, is_final: bool
    ) -> Sequence[GameResult] | None:
        """Play one episode in each of ``num_envs`` environments; None on stop."""
        with self._timer.section("setup"):
            envs = self._envs = make_env_batch(
                self._config,
                seeds=evaluation_seeds(self._config, num_envs),
                purpose="final_evaluation" if is_final else "evaluation",
                expected=self._run.env_spec,
            )
        try:
            return play_episodes(envs, choose, self._stop, timer=self._timer, observe=bias.observe)
        finally:
            envs.close()
            self._envs = None

    def _take_weights(self) -> None:
        newer = self._weights.take_newer()
        if newer is not None:
            self._network.load_inference_state_dict(newer.state_dict)
            self._train_step = self.pulse.weights_train_step = newer.train_step

    def _log_usage(self) -> None:
        row = {"evaluator/evaluations": self._evaluations}
        self._tracker.log({**row, **self._usage.row(), **self._timer.row()})
        self._interval.restart()


def return_statistics(returns: Sequence[float], env_id: str) -> dict[str, float]:
    """Return the metrics of an evaluation's raw returns, including each single return."""
    mean = float(np.mean(returns))
    row = {
        "eval/return_mean": mean,
        "eval/return_median": float(np.median(returns)),
        "eval/return_min": min(returns),
        "eval/return_max": max(returns),
        **{f"eval/return_episode{k}": value for k, value in enumerate(returns)},
    }
    game = atari100k_game(env_id)
    if game is not None:
        row["eval/human_normalized_mean"] = human_normalized(game, mean)
    return row


def main(place: Place, stop: StopSignal) -> None:
    """Build the evaluator and run it."""
    run = place.run
    device = setup_torch(run.config.cluster, ROLE, place.index)
    randomness = generator(run.config.seed, ROLE, place.index, 1)
    with tracked(run, ROLE, place.index, place.incarnation, stop=stop) as tracker:
        evaluator = Evaluator(
            run,
            device=device,
            tracker=tracker,
            randomness=randomness,
            stop=stop,
            member=place.member,
        )
        place.membership.follow(evaluator.pulse)
        evaluator.pulse.stuck_in = lambda: hang_in_words(evaluator.oldest_call)
        watch_for_hangs(evaluator.oldest_call, stop)
        evaluator.run()


if __name__ == "__main__":
    exit_now(run_worker(ROLE, "actor.evaluator", __doc__, main))

"""A finished run's results: returns by env_steps, and the return of its network without search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from actor.tools.saved_run import Policy
from benchmarks.baselines.curves import LearningCurve, on_common_points
from benchmarks.learning.intervals import Interval, mean_band, mean_interval
from benchmarks.pages.matches import Match, read_matches
from benchmarks.pages.run_cost import training_cpu_seconds
from deploy.ablate.check import read_summary
from deploy.report.run_files import Evaluation, kept_evaluations
from efficientzero.config import Config
from efficientzero.runs.results.episode_lines import EPISODES_FILE, num_episodes
from efficientzero.runs.run_folder import RunInfo, read_lines
from efficientzero.schema import F64

ALONE: tuple[Policy, ...] = ("prior", "random")
"""Further policies for the games of the final evaluation: no search, and random actions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One finished run."""

    run: RunInfo
    arm: str = ""
    """Name in the tables; runs of one environment with equal names differ in the seed."""
    evaluations: tuple[Evaluation, ...]
    """In the order of env_steps; the final one last."""
    summary: dict[str, Any]
    training_games: F64
    """[N, 2] env_steps and return of the games played to train on."""
    cpu_seconds: F64
    """[P] spent until each evaluation, the evaluator's not counted; nan: not known."""
    matches: tuple[Match, ...] = ()
    """Of the evaluations, by env_steps; none with one player."""
    alone: Mapping[str, float] = field(default_factory=dict)
    """Mean return by policy of ``ALONE``; of an environment's first arm only."""
    alone_matches: Mapping[str, Mapping[str, Match]] = field(default_factory=dict)
    """By policy and opponent; with two players."""

    @property
    def config(self) -> Config:
        """Of the run."""
        return self.run.config

    @property
    def searches(self) -> bool:
        """Whether its evaluations are played with a search."""
        return self.config.evaluator_simulations > 0

    @property
    def last(self) -> Evaluation:
        """The final evaluation."""
        return self.evaluations[-1]

    @property
    def curve(self) -> tuple[F64, F64]:
        """Env_steps, ascending, and mean returns; of several evaluations at one x the last."""
        curve = self.learning_curve
        return curve.env_steps, curve.returns

    @property
    def learning_curve(self) -> LearningCurve:
        """The curve with its cost, as the baselines have theirs."""
        costs = self.cpu_seconds.tolist()
        points = {
            e.env_steps: (e.mean, cost) for e, cost in zip(self.evaluations, costs, strict=True)
        }
        returns, spent = np.array(list(points.values()), np.float64).T
        return LearningCurve(
            env_id=self.config.env.id,
            algorithm=self.arm,
            seed=self.config.seed,
            env_steps=np.array(list(points), np.float64),
            returns=returns,
            cpu_seconds=spent,
        )

    @property
    def mean_over_training(self) -> float:
        """Mean of the curve, with equal weight for each env_step between its ends.

        Shows the speed of learning if all runs end at the top.
        """
        env_steps, returns = self.curve
        span = env_steps[-1] - env_steps[0]
        return float(np.trapz(returns, env_steps) / span if span else returns[-1])


def read_result(directory: Path) -> Result:
    """Read a finished run's folder.

    Raises:
        ValueError: it has not finished, or a file is missing or invalid.
    """
    run, summary = RunInfo.load(directory / "config.json"), read_summary(directory)
    if summary.get("exit_code") != 0:
        raise ValueError(f"not finished, {summary.get('exit_reason', 'it has no summary')}")
    try:
        evaluations = sorted(kept_evaluations(directory), key=lambda e: (e.env_steps, e.minutes))
        matches = read_matches(directory)
        games = [
            (float(line["env_steps"]), float(line["return"]))
            for line in read_lines(directory / EPISODES_FILE)
            for _ in range(num_episodes(line))
        ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    final = next((e for e in evaluations if e.is_final), None)
    if final is None:
        raise ValueError("it has no final evaluation")
    evaluations = [*(e for e in evaluations if not e.is_final), final]
    return Result(
        run=run,
        evaluations=tuple(evaluations),
        matches=matches,
        summary=summary,
        training_games=np.array(games, np.float64).reshape(-1, 2),
        cpu_seconds=training_cpu_seconds(directory, summary, [e.train_steps for e in evaluations]),
    )


def final_cpu_seconds(curves: Sequence[LearningCurve]) -> float:
    """Return the mean cost of a training over seeds; nan if it is not known of all."""
    return float(np.mean([curve.cpu_seconds[-1] for curve in curves]))


def final_return(results: Sequence[Result]) -> Interval:
    """Return mean and interval over the final evaluations of one task's and arm's results."""
    return mean_interval([result.last.mean for result in results])


def return_over_training(results: Sequence[Result]) -> Interval:
    """Return mean and interval over the seeds' means of all evaluations."""
    return mean_interval([result.mean_over_training for result in results])


def return_alone(results: Sequence[Result], policy: str) -> Interval:
    """Return mean and interval over the seeds' returns of a policy of ``ALONE``."""
    return mean_interval([result.alone[policy] for result in results])


def gain_of_search(results: Sequence[Result]) -> Interval:
    """Return mean and interval of the gain of search over each seed's network.

    Both play the same weights and games, so the seeds are pairs. Their differences are more precise
    than two separate intervals, each of which contains the variation between seeds.
    """
    return mean_interval([result.last.mean - result.alone["prior"] for result in results])


def paired_difference(
    results: Sequence[Result], baseline: Sequence[Result], measure: Callable[[Result], float]
) -> Interval | None:
    """Return mean and interval of the seeds' own differences to the baseline; None without pairs.

    Runs of one seed begin with the same weights where the network is the same, and are evaluated
    on the same games.
    """
    known = {result.config.seed: measure(result) for result in baseline}
    pairs = [(measure(r), known[r.config.seed]) for r in results if r.config.seed in known]
    return mean_interval([value - other for value, other in pairs]) if pairs else None


def return_curve(results: Sequence[Result]) -> tuple[F64, F64, F64, F64]:
    """Return env_steps, means, lower and upper ends [P], where all seeds have evaluations."""
    points, values = on_common_points([result.curve for result in results])
    return points, *mean_band(values)


def training_returns(results: Sequence[Result], edges: Sequence[float]) -> list[Interval | None]:
    """Return mean and interval over the seeds' mean training games, from each edge to the next.

    These are played with exploration, by weights that change meanwhile. None where a seed ended no
    game.
    """
    found: list[Interval | None] = []
    for start, stop in pairwise(edges):
        means = []
        for env_steps, returns in (result.training_games.T for result in results):
            among = (env_steps > start) & (env_steps <= stop)
            means += [float(returns[among].mean())] if among.any() else []
        found.append(mean_interval(means) if len(means) == len(results) else None)
    return found


def by_task(results: Sequence[Result]) -> dict[str, dict[str, list[Result]]]:
    """Return environment -> arm -> its results by seed; both in the order of their first run."""
    found: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        found.setdefault(result.config.env.id, {}).setdefault(result.arm, []).append(result)
    for arms in found.values():
        for seeds in arms.values():
            seeds.sort(key=lambda result: result.config.seed)
    return found

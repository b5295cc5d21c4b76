"""What finished cells say: returns by env_steps, and how the two baselines play the same games.

The baselines are played by ``actor.tools.evaluate`` on the run's folder, once, and kept in it:
``baseline-prior.json`` (the trained network without search) and ``baseline-random.json``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baselines.curves import LearningCurve
from benchmarks.curves import Run, on_common_points, read_run
from benchmarks.learning.cell_runner import CHECKOUT
from benchmarks.learning.cells import FULL, Cell
from benchmarks.learning.intervals import Interval, mean_band, mean_interval
from benchmarks.run_cost import training_cpu_seconds
from efficientzero.runs.results.episode_lines import num_episodes
from efficientzero.runs.run_folder import (
    read_lines,
    write_json,
)
from efficientzero.schema import F64

BASELINES = ("prior", "random")
_LIMIT_S = 1_800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One finished cell."""

    cell: Cell
    directory: Path
    run: Run
    summary: dict[str, Any]
    baselines: dict[str, float]  # mean return by policy; of full cells
    training_games: F64  # [N, 2] env_steps and return of the games played to train on
    cpu_seconds: F64  # [P] spent until each evaluation, the evaluator's apart; nan: not known

    @property
    def curve(self) -> tuple[F64, F64]:
        """Env_steps, ascending, and mean returns; of several evaluations at one x the last."""
        curve = self.learning_curve
        return curve.env_steps, curve.returns

    @property
    def learning_curve(self) -> LearningCurve:
        """The curve with its cost, as the baselines have theirs."""
        evaluations, costs = self.run.evaluations, self.cpu_seconds.tolist()
        points = {e.env_steps: (e.mean, cost) for e, cost in zip(evaluations, costs, strict=True)}
        returns, spent = np.array(list(points.values()), np.float64).T
        return LearningCurve(
            env_id=self.cell.config.env.id,
            algorithm=self.cell.variant,
            seed=self.cell.seed,
            env_steps=np.array(list(points), np.float64),
            returns=returns,
            cpu_seconds=spent,
        )

    @property
    def mean_over_training(self) -> float:
        """Mean of the curve, each env_step between its ends weighing alike.

        Tells how fast one learns where all end at the top.
        """
        env_steps, returns = self.curve
        span = env_steps[-1] - env_steps[0]
        return float(np.trapz(returns, env_steps) / span if span else returns[-1])

    @property
    def last_training_games(self) -> float | None:
        """Mean return of the games played to train on in the last 1/8 of the env_steps."""
        budget = self.cell.config.budget.env_steps
        (found,) = training_returns([self], (budget * 7 / 8, budget))
        return None if found is None else found.mean

    def as_json(self) -> dict[str, Any]:
        """Return the result as one object."""
        last, curve = self.run.last, self.learning_curve
        return {
            "task": self.cell.task,
            "env_id": self.cell.config.env.id,
            "variant": self.cell.variant,
            "seed": self.cell.seed,
            "return_mean": last.mean,
            "episodes": len(last.returns),
            "return_without_search": self.baselines.get("prior"),
            "return_random": self.baselines.get("random"),
            "env_steps": last.env_steps,
            "train_steps": last.train_steps,
            "minutes": round(self.summary["wall_s"] / 60.0, 2),
            "mean_over_training": self.mean_over_training,
            "last_training_games": self.last_training_games,
            "cpu_seconds": _or_none(curve.cpu_seconds)[-1],
            "curve": {
                "env_steps": curve.env_steps.tolist(),
                "return_mean": curve.returns.tolist(),
                "cpu_seconds": _or_none(curve.cpu_seconds),
            },
            "config_hash": self.cell.key[0],
            "run": str(self.directory),
            "versions": self.summary["versions"],
        }


def play_baselines(cell: Cell, directory: Path) -> None:
    """Play what the run's folder does not hold yet.

    Raises:
        ValueError: the evaluator failed, in its own words; or its result could not be kept.
    """
    if cell.variant != FULL:
        return
    for policy in BASELINES:
        path = _baseline_path(directory, policy)
        if path.exists():
            continue
        if not os.access(directory, os.W_OK):
            raise ValueError(f"{path}: not there, and its folder cannot be written to")
        write_json(path, _play(directory, policy))


def _play(directory: Path, policy: str) -> dict[str, Any]:
    command = (sys.executable, "-m", "actor.tools.evaluate", str(directory), "--policy", policy)
    try:
        done = subprocess.run(
            (*command, "--json"),
            cwd=CHECKOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"playing by {policy} took more than {_LIMIT_S / 60:.0f} min") from error
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2]
        raise ValueError(f"playing by {policy} failed with exit code {done.returncode}: {last}")
    played: dict[str, Any] = json.loads(done.stdout)
    return played


def read_result(cell: Cell, directory: Path) -> Result:
    """Read a finished cell's folder.

    Raises:
        ValueError: a file is missing or is not what it should be.
    """
    run = read_run(directory)
    try:
        summary = json.loads((directory / "summary.json").read_text())
        policies = BASELINES if cell.variant == FULL else ()
        played = {p: json.loads(_baseline_path(directory, p).read_text()) for p in policies}
        means = {policy: float(values["return_mean"]) for policy, values in played.items()}
        lines = read_lines(directory / "episodes.jsonl")
        games = [
            (float(line["env_steps"]), float(line["return"]))
            for line in lines
            for _ in range(num_episodes(line))
        ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{directory}: {type(error).__name__}: {error}") from error
    train_steps = [evaluation.train_steps for evaluation in run.evaluations]
    return Result(
        cell=cell,
        directory=directory,
        cpu_seconds=training_cpu_seconds(directory, summary, train_steps),
        run=run,
        summary=summary,
        baselines=means,
        training_games=np.array(games, np.float64).reshape(-1, 2),
    )


def final_cpu_seconds(curves: Sequence[LearningCurve]) -> float:
    """Return the mean over seeds of what a training cost; nan where it is not known of all."""
    return float(np.mean([curve.cpu_seconds[-1] for curve in curves]))


def final_return(results: Sequence[Result]) -> Interval:
    """Return mean and interval over the final evaluations of one task's and variant's results."""
    return mean_interval([result.run.last.mean for result in results])


def return_over_training(results: Sequence[Result]) -> Interval:
    """Return mean and interval over the seeds' means of all evaluations."""
    return mean_interval([result.mean_over_training for result in results])


def baseline_return(results: Sequence[Result], policy: str) -> Interval:
    """Return mean and interval over what the baseline reached with each seed."""
    return mean_interval([result.baselines[policy] for result in results])


def gain_of_search(results: Sequence[Result]) -> Interval:
    """Return mean and interval of what search adds to each seed's own network.

    Both play the same weights and games, so that the seeds are pairs: their differences tell more
    than two intervals side by side, which hold how much seeds differ twice over.
    """
    return mean_interval([r.run.last.mean - r.baselines["prior"] for r in results])


def paired_difference(
    results: Sequence[Result], baseline: Sequence[Result], measure: Callable[[Result], float]
) -> Interval | None:
    """Return mean and interval of the seeds' own differences to the baseline; None without pairs.

    Runs of one seed begin with the same weights where the network is the same, and are evaluated
    on the same games.
    """
    known = {result.cell.seed: measure(result) for result in baseline}
    pairs = [(measure(r), known[r.cell.seed]) for r in results if r.cell.seed in known]
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


def select(results: Sequence[Result], task: str, variant: str = FULL) -> list[Result]:
    """Return the results of one task and variant, in the order of seeds."""
    chosen = [r for r in results if (r.cell.task, r.cell.variant) == (task, variant)]
    return sorted(chosen, key=lambda result: result.cell.seed)


def _or_none(values: F64) -> list[float | None]:
    """Return numbers as JSON has them: no nan."""
    return [None if np.isnan(value) else round(float(value), 1) for value in values]


def _baseline_path(directory: Path, policy: str) -> Path:
    return directory / f"baseline-{policy}.json"

"""Actor-count scaling: the same run with more and more actors, as a table.

Reads run folders: the wandb files for rates and waits, the fairness stamp for ages, the
evaluations for returns. Knows nothing of grids. The picture is drawn by ``scaling_figure.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy.results.fairness import read_stamp
from deploy.results.wandb_history import Row, read_rows
from efficientzero.runs.results.fairness_stamp import Stamp
from efficientzero.runs.results.run_summary import EVALUATIONS_FILE
from efficientzero.runs.run_folder import RunInfo, read_lines

ROLES = ("actor", "reanalyzer", "learner")
"""Roles whose waiting is reported."""

_TIME = "_timestamp"  # wandb's own, in seconds
_MIN_ROWS = 2
_LARGE = 1_000.0  # shown in full


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRun:
    """One run, measured while it collected and trained."""

    actors: int
    seed: int
    env_steps_per_s: float | None
    """None where the run logged too few rows, or was not tracked."""
    train_steps_per_s: float | None
    wait_shares: Mapping[str, float]
    """Role -> share of its processes' time spent waiting for others."""
    stamp: Stamp | None
    returns: tuple[tuple[int, float], ...]
    """(env_steps, mean return) of each evaluation; the last one at an env_step counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPoint:
    """The runs of one number of actors, averaged over seeds. NaN where nothing was measured."""

    actors: int
    seeds: int
    env_steps_per_s: float
    train_steps_per_s: float
    speed_up: float
    """Of env_steps_per_s, over the smallest number of actors."""
    efficiency: float
    """Speed-up per factor of actors."""
    wait_shares: Mapping[str, float]
    weight_age: float
    target_age: float
    curve: tuple[tuple[int, float], ...]
    """(env_steps, mean return), up to what all runs have reached."""
    final_return: float
    """Mean return at the most env_steps that all runs have reached."""


def read_scaling_run(run_dir: Path) -> ScalingRun:
    """Read one run.

    Raises:
        ValueError: not a run's folder.
    """
    run = RunInfo.load(run_dir / "config.json")
    rows = read_rows(run_dir)
    window = _collection_rows(rows, run.config.budget.env_steps)
    evaluations = read_lines(run_dir / EVALUATIONS_FILE)
    returns = {int(e["env_steps"]): float(e["return_mean"]) for e in evaluations}
    return ScalingRun(
        actors=run.config.cluster.num_actors,
        seed=run.config.seed,
        env_steps_per_s=_rate(window, "learner/env_steps"),
        train_steps_per_s=_rate(window, "learner/train_steps"),
        wait_shares=_wait_shares(rows, window),
        stamp=_stamp(run_dir),
        returns=tuple(sorted(returns.items())),
    )


def _stamp(run_dir: Path) -> Stamp | None:
    """Return the fairness stamp, None where it is missing or, as the comparison says, damaged."""
    try:
        return read_stamp(run_dir)
    except ValueError:
        return None


def scaling_points(runs: Sequence[ScalingRun]) -> list[ScalingPoint]:
    """Return a point for each number of actors, ascending."""
    by_actors: dict[int, list[ScalingRun]] = {}
    for run in sorted(runs, key=lambda run: (run.actors, run.seed)):
        by_actors.setdefault(run.actors, []).append(run)
    reached = min((run.returns[-1][0] for run in runs if run.returns), default=0)
    speeds = {a: _mean(run.env_steps_per_s for run in of) for a, of in by_actors.items()}
    fewest = min(by_actors, default=1)
    points = []
    for actors, alike in by_actors.items():
        speed_up = speeds[actors] / speeds[fewest]
        stamps = [run.stamp for run in alike if run.stamp is not None]
        curve = mean_curve([run.returns for run in alike if run.returns], reached)
        points.append(
            ScalingPoint(
                actors=actors,
                seeds=len(alike),
                env_steps_per_s=speeds[actors],
                train_steps_per_s=_mean(run.train_steps_per_s for run in alike),
                speed_up=speed_up,
                efficiency=speed_up / (actors / fewest),
                wait_shares={
                    role: _mean(run.wait_shares.get(role) for run in alike) for role in ROLES
                },
                weight_age=_mean(stamp.weight_age_mean for stamp in stamps),
                target_age=_mean(stamp.target_age_mean for stamp in stamps),
                curve=curve,
                final_return=curve[-1][1] if curve else float("nan"),
            )
        )
    return points


def mean_curve(
    curves: Sequence[Sequence[tuple[int, float]]], reached: int
) -> tuple[tuple[int, float], ...]:
    """Return the mean of curves up to ``reached`` env_steps, interpolated between evaluations.

    It begins where the last of them begins.
    """
    if not curves:
        return ()
    first = max(curve[0][0] for curve in curves)
    places = sorted({x for curve in curves for x, _ in curve if first <= x <= reached} | {reached})
    values = [np.interp(places, *np.transpose(curve)) for curve in curves]
    return tuple(zip(places, map(float, np.mean(values, axis=0)), strict=True))


def scaling_table(points: Sequence[ScalingPoint]) -> str:
    """Return the points as a Markdown table."""
    reached = next((point.curve[-1][0] for point in points if point.curve), 0)
    headings = [
        *("actors", "seeds", "env_steps/s", "train_steps/s", "speed-up", "efficiency"),
        *(f"{role} waits" for role in ROLES),
        *("weight age", "target age", f"return at {reached:,} env_steps"),
    ]
    lines = [_line(headings), _line(["---:"] * len(headings))]
    for point in points:
        cells = [
            *(str(point.actors), str(point.seeds)),
            *(_number(point.env_steps_per_s), _number(point.train_steps_per_s)),
            *(_number(point.speed_up), _percent(point.efficiency)),
            *(_percent(point.wait_shares[role]) for role in ROLES),
            *(_number(point.weight_age), _number(point.target_age), _number(point.final_return)),
        ]
        lines.append(_line(cells))
    return "\n".join(lines)


def _collection_rows(rows: Sequence[Row], budget: int) -> list[Row]:
    """Return the learner's rows from its first, which ends the start-up, to collection's end."""
    return [
        row
        for row in rows
        if row.job_type == "learner"
        and _TIME in row.values
        and row.values.get("learner/env_steps", budget) < budget
    ]


def _rate(window: Sequence[Row], counter: str) -> float | None:
    if len(window) < _MIN_ROWS:
        return None
    first, last = window[0].values, window[-1].values
    seconds = last[_TIME] - first[_TIME]
    return (last[counter] - first[counter]) / seconds if seconds > 0 else None


def _wait_shares(rows: Sequence[Row], window: Sequence[Row]) -> dict[str, float]:
    """Return each role's mean share of waiting in the window.

    A row covers the time since its process's last one; it counts with the seconds of it that lie in
    the window. So a process that logs seldom is not left out of a short one.
    """
    if len(window) < _MIN_ROWS:
        return {}
    start, end = window[0].values[_TIME], window[-1].values[_TIME]
    since: dict[tuple[str, int], float] = {}
    shares: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for row in rows:
        share, until = row.values.get(f"{row.job_type}/time/wait_share"), row.values.get(_TIME)
        if share is None or until is None:
            continue
        process = row.job_type, row.index
        overlap = min(until, end) - max(since.get(process, start), start)
        since[process] = until
        if overlap > 0:
            shares.setdefault(row.job_type, []).append(share)
            seconds.setdefault(row.job_type, []).append(overlap)
    return {role: float(np.average(of, weights=seconds[role])) for role, of in shares.items()}


def _mean(values: Iterable[float | None]) -> float:
    """Return the mean of those that are known, NaN if none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= _LARGE else f"{value:.3g}"


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.0%}"

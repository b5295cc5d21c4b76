"""Learning curves in a CSV of all their points, as in ``docs/results/baselines/baselines.csv``."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from efficientzero.schema import F64

COLUMNS = ("env", "algorithm", "seed", "env_steps", "return_mean", "cpu_seconds")
LEVELS = ("random", "random-legal")
"""Algorithms that learn nothing: one point, the same at any number of env_steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """One training."""

    env_id: str
    algorithm: str
    seed: int
    env_steps: F64  # [P], ascending
    returns: F64  # [P], means of the evaluations' episodes
    cpu_seconds: F64  # [P], of training until then; nan where it is not known

    @property
    def last_return(self) -> float:
        """Of the last evaluation."""
        return float(self.returns[-1])


def read_curves(path: Path) -> list[LearningCurve]:
    """Return the curves of a CSV with ``COLUMNS``, in the file's order.

    Raises:
        ValueError: it cannot be read, or is no such file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        trainings = groupby(rows, lambda row: (row["env"], row["algorithm"], int(row["seed"])))
        return [_curve(*which, list(points)) for which, points in trainings]
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{path}: not the curves of baselines ({reason}), wanted a CSV with the columns "
            f"{', '.join(COLUMNS)}"
        ) from error


def write_curves(path: Path, curves: Iterable[LearningCurve]) -> None:
    """Write a CSV with ``COLUMNS``, a row for each point.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for curve in curves:
            which = (curve.env_id, curve.algorithm, curve.seed)
            points = zip(curve.env_steps, curve.returns, curve.cpu_seconds, strict=True)
            for env_steps, mean, cpu_s in points:
                cost = "" if np.isnan(cpu_s) else f"{cpu_s:.1f}"
                writer.writerow([*which, int(env_steps), f"{mean:.4g}", cost])


def by_algorithm(
    curves: Sequence[LearningCurve], env_id: str, env_steps: int
) -> dict[str, list[LearningCurve]]:
    """Return an environment's curves by algorithm, those that had at most so many env_steps.

    A baseline whose budget was larger is cut there; it is compared at the same env_steps.
    """
    found: dict[str, list[LearningCurve]] = {}
    for curve in curves:
        within = curve.env_steps <= env_steps
        if curve.algorithm in LEVELS:
            within[:] = True
        if curve.env_id == env_id and within.any():
            cut = LearningCurve(
                env_id=env_id,
                algorithm=curve.algorithm,
                seed=curve.seed,
                env_steps=curve.env_steps[within],
                returns=curve.returns[within],
                cpu_seconds=curve.cpu_seconds[within],
            )
            found.setdefault(curve.algorithm, []).append(cut)
    return found


def on_common_points(curves: Sequence[tuple[F64, F64]]) -> tuple[F64, F64]:
    """Return points x [P] and the curves' values there [N, P], over the x that all curves cover.

    Evaluations of different seeds never fall on the same x, so each curve is interpolated linearly
    at every curve's points. Empty where the curves have nothing in common.
    """
    first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    points = np.unique(np.concatenate([x for x, _ in curves]))
    points = points[(points >= first) & (points <= last)]
    return points, np.array([np.interp(points, x, y) for x, y in curves])


def _curve(
    env_id: str, algorithm: str, seed: int, points: Sequence[dict[str, str]]
) -> LearningCurve:
    return LearningCurve(
        env_id=env_id,
        algorithm=algorithm,
        seed=seed,
        env_steps=np.array([float(p["env_steps"]) for p in points]),
        returns=np.array([float(p["return_mean"]) for p in points]),
        cpu_seconds=np.array([float(p["cpu_seconds"] or "nan") for p in points]),
    )

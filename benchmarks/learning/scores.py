"""Scores over games: normalised between random play and a reference, aggregated by rliable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.baselines.curves import LearningCurve
from benchmarks.learning.intervals import Interval, mean_interval
from deploy.report.estimates import Estimate, aggregate
from efficientzero.schema import F64

RANDOM = "random"
SAMPLES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregates:
    """Normalised scores: 0 is random play's mean, 1 the reference's."""

    games: tuple[str, ...]
    """Games included in the aggregates."""
    left_out: tuple[str, ...]
    """One line with the reason for each excluded game."""
    seeds: dict[str, tuple[int, ...]]
    """Method -> its seeds that have all these games; other seeds are excluded."""
    estimates: dict[str, dict[str, Estimate]]
    """Aggregate -> method -> value and stratified-bootstrap interval."""


def final_returns(curves: Sequence[LearningCurve], env_id: str, method: str) -> dict[int, float]:
    """Return seed -> last return of a method on a game."""
    return {
        curve.seed: float(curve.returns[-1])
        for curve in curves
        if (curve.env_id, curve.algorithm) == (env_id, method)
    }


def final_interval(curves: Sequence[LearningCurve], env_id: str, method: str) -> Interval | None:
    """Return mean and interval over seeds of the last return; None without any."""
    returns = list(final_returns(curves, env_id, method).values())
    return mean_interval(returns) if returns else None


def normalized_aggregates(
    curves: Sequence[LearningCurve],
    games: Sequence[str],
    reference: str,
    *,
    samples: int = SAMPLES,
) -> Aggregates:
    """Return the aggregates of every method over the games with a meaningful normalisation.

    Args:
        curves: of all methods.
        games: of the grid.
        reference: the method whose mean return counts as 1.
        samples: resamples for the intervals.

    A game without both levels, or where the reference is not clearly above random play, would
    divide by a difference that is noise: it is left out and named.
    """
    levels: dict[str, tuple[float, float]] = {}
    left_out = []
    for game in games:
        low, high = (final_interval(curves, game, name) for name in (RANDOM, reference))
        if low is None or high is None:
            absent = RANDOM if low is None else reference
            left_out.append(f"{game}: no run of {absent}")
        elif not _is_above(high, low):
            left_out.append(
                f"{game}: {reference} ({high.mean:.2f}) is not clearly above {RANDOM} "
                f"({low.mean:.2f})"
            )
        else:
            levels[game] = low.mean, high.mean
    seeds, matrices = {}, {}
    for method in dict.fromkeys(curve.algorithm for curve in curves):
        columns = [final_returns(curves, game, method) for game in levels]
        complete = sorted(set.intersection(*map(set, columns))) if columns else []
        seeds[method] = tuple(complete)
        if complete:
            matrices[method] = _normalized(columns, complete, list(levels.values()))
    return Aggregates(
        games=tuple(levels),
        left_out=tuple(left_out),
        seeds=seeds,
        estimates=aggregate(matrices, samples=samples) if matrices else {},
    )


def _is_above(high: Interval, low: Interval) -> bool:
    """Return whether intervals are disjoint; with one seed the means are compared."""
    if min(high.n, low.n) == 1:
        return high.mean > low.mean
    return high.low > low.high


def _normalized(
    columns: Sequence[dict[int, float]],
    seeds: Sequence[int],
    levels: Sequence[tuple[float, float]],
) -> F64:
    """Return scores [seeds, games]."""
    raw = np.array([[column[seed] for column in columns] for seed in seeds], np.float64)
    low, high = np.array(levels, np.float64).T
    return np.asarray((raw - low) / (high - low), np.float64)

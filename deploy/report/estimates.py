"""Aggregates with bootstrap intervals, computed by rliable (Agarwal et al. 2021).

Scores are matrices [seeds, environments]; resampling is stratified: seeds within environments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from rliable import library, metrics

from efficientzero.schema import F64

CONFIDENCE = 0.95

AGGREGATES: dict[str, Callable[[F64], float]] = {
    "IQM": metrics.aggregate_iqm,
    "median": metrics.aggregate_median,
    "mean": metrics.aggregate_mean,
    "optimality gap": metrics.aggregate_optimality_gap,
}
"""Median and mean are over environments of the mean over seeds; the gap is to a score of 1."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % bootstrap interval; none where a single seed was run."""

    value: float
    low: float | None = None
    high: float | None = None


def aggregate(scores: Mapping[str, F64], *, samples: int) -> dict[str, dict[str, Estimate]]:
    """Return aggregate -> method -> estimate."""
    with _seeded():
        points, intervals = library.get_interval_estimates(
            scores,
            lambda matrix: np.array([function(matrix) for function in AGGREGATES.values()]),
            reps=samples,
            confidence_interval_size=CONFIDENCE,
        )
    return {
        name: {
            method: Estimate(points[method][i], *_bounds(intervals[method][:, i], scores[method]))
            for method in scores
        }
        for i, name in enumerate(AGGREGATES)
    }


def improvement(scores: Mapping[str, F64], baseline: str, *, samples: int) -> dict[str, Estimate]:
    """Return method -> probability that a run of it beats one of ``baseline``, mean over tasks."""
    pairs = {
        method: [matrix, scores[baseline]]
        for method, matrix in scores.items()
        if method != baseline
    }
    if not pairs:
        return {}
    with _seeded():
        points, intervals = library.get_interval_estimates(
            pairs,
            lambda x, y: np.array([metrics.probability_of_improvement(x, y)]),
            reps=samples,
            confidence_interval_size=CONFIDENCE,
        )
    return {
        method: Estimate(points[method][0], *_bounds(intervals[method][:, 0], *pairs[method]))
        for method in pairs
    }


def _bounds(interval: F64, *matrices: F64) -> list[float]:
    """Return the interval, or nothing: resampling a single seed says nothing about seeds."""
    return [] if any(len(matrix) == 1 for matrix in matrices) else [float(x) for x in interval]


def band(values: F64, *, samples: int) -> tuple[F64, F64 | None, F64 | None]:
    """Return (mean over seeds, low, high), each [points], of ``values`` [seeds, points].

    Low and high are None for a single seed.
    """
    if len(values) == 1:
        return values[0], None, None
    with _seeded():
        points, intervals = library.get_interval_estimates(
            {"": values[:, None, :]},
            lambda array: np.mean(array, axis=(0, 1)),
            reps=samples,
            confidence_interval_size=CONFIDENCE,
        )
    return points[""], intervals[""][0], intervals[""][1]


def without_each(matrix: F64) -> list[dict[str, float]]:
    """Return the aggregates without each environment in turn; nothing for a single one."""
    num_environments = matrix.shape[1]
    if num_environments == 1:
        return []
    return [
        {name: function(np.delete(matrix, i, axis=1)) for name, function in AGGREGATES.items()}
        for i in range(num_environments)
    ]


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed numpy's global generator, which rliable always uses."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)

"""Means over seeds with percentile bootstrap intervals by scipy.

With n = 3 the 95 % interval is the smallest to the largest seed: one resample in 27 holds one seed
three times, which is more than 2.5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from efficientzero.schema import F64

CONFIDENCE = 0.95
_RESAMPLES = 9_999
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over seeds with its bootstrap interval."""

    mean: float
    low: float  # nan with one seed
    high: float
    n: int  # seeds

    def is_apart_from(self, other: Interval) -> bool:
        """Return whether the intervals are disjoint; false if one has only one seed."""
        return self.low > other.high or self.high < other.low


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of one value per seed, and its interval."""
    means, lows, highs = mean_band(np.asarray(values, np.float64)[:, None])
    return Interval(mean=float(means[0]), low=float(lows[0]), high=float(highs[0]), n=len(values))


def mean_band(values: F64) -> tuple[F64, F64, F64]:
    """Return means, lower and upper ends [P] of values [N, P], whole rows resampled together."""
    means = values.mean(0)
    if len(values) < _FEWEST or not means.size:
        return means, np.full_like(means, np.nan), np.full_like(means, np.nan)
    result = bootstrap(
        (values,),
        np.mean,
        axis=0,
        n_resamples=_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return means, result.confidence_interval.low, result.confidence_interval.high

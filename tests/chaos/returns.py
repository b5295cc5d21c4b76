"""Whether a run's return is that of undisturbed runs, as far as so few of them can tell."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run's final evaluation beside those of undisturbed runs."""

    difference: float
    """Of the mean return, to the mean of the undisturbed runs' means."""
    noise: float
    """The largest difference that is none."""

    @property
    def is_noise(self) -> bool:
        return abs(self.difference) <= self.noise


def compare(returns: Sequence[float], undisturbed: Sequence[Sequence[float]]) -> Comparison:
    """Compare the final evaluation of one run with those of at least one undisturbed run.

    Two things make noise, and the larger one counts: that an evaluation has few episodes (Welch's
    99 % interval of the difference of two means, the undisturbed runs' episodes taken together),
    and, known from two undisturbed runs on, that runs differ (99 % prediction interval of the
    mean return of one more such run).

    Args:
        returns: of the run's episodes, at least two.
        undisturbed: the same of each undisturbed run.
    """
    means = [statistics.fmean(episodes) for episodes in undisturbed]
    pooled = [episode for episodes in undisturbed for episode in episodes]
    return Comparison(
        difference=statistics.fmean(returns) - statistics.fmean(means),
        noise=max(_of_episodes(returns, pooled), _of_runs(means)),
    )


def half_width(returns: Sequence[float], confidence: float = 0.95) -> float:
    """Return half of Student's interval of the mean over episodes."""
    deviation = statistics.stdev(returns)
    return _quantile(len(returns) - 1, confidence) * deviation / math.sqrt(len(returns))


def _of_episodes(returns: Sequence[float], pooled: Sequence[float]) -> float:
    ours, theirs = (statistics.variance(group) / len(group) for group in (returns, pooled))
    if ours + theirs == 0.0:
        return 0.0
    freedom = (ours + theirs) ** 2 / (
        ours**2 / (len(returns) - 1) + theirs**2 / (len(pooled) - 1)
    )  # Welch-Satterthwaite
    return _quantile(freedom, CONFIDENCE) * math.sqrt(ours + theirs)


def _of_runs(means: Sequence[float]) -> float:
    if len(means) < 2:
        return 0.0
    width = _quantile(len(means) - 1, CONFIDENCE) * statistics.stdev(means)
    return width * math.sqrt(1.0 + 1.0 / len(means))


def _quantile(freedom: float, confidence: float) -> float:
    return float(stats.t.ppf(0.5 + confidence / 2.0, freedom))

"""Tables and numbers of the pages that benchmarks write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.learning.intervals import Interval
from efficientzero.schema import F64

FRACTIONS = (0.125, 0.25, 0.5, 0.75, 1.0)
"""Of a budget's env_steps: where tables show a curve."""


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def interval_text(interval: Interval) -> str:
    """Return mean and, with more than one seed, the interval in brackets."""
    if np.isnan(interval.low):
        return f"{interval.mean:.2f}"
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def cells_at_fractions(band: tuple[F64, F64, F64, F64], budget: int, *, n: int) -> list[str]:
    """Return a mean curve's values at ``FRACTIONS``, nothing where it is not known.

    Args:
        band: env_steps, means, lower and upper ends, [P] each.
        budget: env_steps.
        n: seeds.
    """
    points, means, lows, highs = band
    cells = []
    for x in (fraction * budget for fraction in FRACTIONS):
        if not points.size or not points[0] <= x <= points[-1]:
            cells.append("")
            continue
        mean, low, high = (float(np.interp(x, points, y)) for y in (means, lows, highs))
        cells.append(interval_text(Interval(mean=mean, low=low, high=high, n=n)))
    return cells


def number_text(value: float | None, digits: int = 2) -> str:
    """Return a number, or nothing where there is none."""
    return "" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def revision_text(commit: str) -> str:
    """Shorten ``<40 digits>`` and ``<40 digits>-dirty``."""
    digits, dash, state = commit.partition("-")
    return f"{digits[:12]}{dash}{state}"

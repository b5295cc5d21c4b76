"""Tables and numbers of the pages that benchmarks write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.learning.intervals import Interval


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def interval_text(interval: Interval) -> str:
    """Return mean and, with more than one seed, the interval in brackets."""
    if np.isnan(interval.low):
        return f"{interval.mean:.2f}"
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def number_text(value: float | None, digits: int = 2) -> str:
    """Return a number, or nothing where there is none."""
    return "" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def revision_text(commit: str) -> str:
    """Shorten ``<40 digits>`` and ``<40 digits>-dirty``."""
    digits, dash, state = commit.partition("-")
    return f"{digits[:12]}{dash}{state}"

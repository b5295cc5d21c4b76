"""A section of the report, and phrases that several have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from deploy.report import tables
from deploy.report.runs import Run
from deploy.report.scores import common_environments

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page."""

    title: str
    reading: str
    """How to read it, and of how many runs it is."""
    notes: Sequence[str] = ()
    """Sentences, one a line."""
    methods: Sequence[str] = ()
    """Those that the figures' legend names; empty: no legend."""
    figures: Sequence[tuple[str, Figure]] = ()
    """(file name without ending, figure)."""
    tables: Sequence[tables.Table] = ()


def few(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def environments_text(runs: Sequence[Run]) -> str:
    """Return how many environments all methods have in common, in words."""
    number = len(common_environments(runs))
    return f"{number} environment{'s' * (number > 1)}"


def seeds_text(counts: set[int]) -> str:
    """Return how many seeds there are, or between which numbers, in words."""
    low, high = min(counts), max(counts)
    number = str(low) if low == high else f"{low} to {high}"
    return f"{number} seed{'s' * (high > 1)}"

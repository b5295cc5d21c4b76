"""A run's CPU-seconds over time, from its metric rows and the sums in ``summary.json``.

Rows have the CPU-seconds of a process while it logged, ``summary.json`` all of them. Their
difference, mostly imports, counts as spent at the start.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.results import Row, read_rows
from efficientzero.schema import F64

_TIME = "_timestamp"  # wandb's own, in seconds
NOT_TRAINING = "evaluator"
"""The role whose cost is no cost of learning: baselines do not count their evaluations either."""


@dataclass(frozen=True, slots=True)
class Window:
    """A process's metric row with its CPU use, and the time it was logged."""

    role: str
    index: int
    until: float
    """Seconds since 1970."""
    seconds: float
    """Length of the row's window, while the process ran."""
    values: Mapping[str, float]


def cpu_share_name(role: str) -> str:
    """Return the name of a role's metric of CPU use, in cores."""
    return f"{role}/process/cpu_share"


def windows(rows: Sequence[Row]) -> Iterator[Window]:
    """Yield the rows with a process's use of the processor, those of a process in their order."""
    logged: dict[tuple[str, int], float] = defaultdict(float)
    for row in rows:
        process, wall_s = (row.job_type, row.index), row.values.get(f"{row.job_type}/wall_s")
        if (
            wall_s is None
            or _TIME not in row.values
            or cpu_share_name(row.job_type) not in row.values
        ):
            continue  # an evaluation's row has only results
        # The axis continues where a process's last start ended; it never falls.
        seconds = max(0.0, wall_s - logged[process])
        logged[process] = max(logged[process], wall_s)
        yield Window(*process, row.values[_TIME], seconds, row.values)


def training_cpu_seconds(
    directory: Path, summary: Mapping[str, Any], train_steps: Sequence[int]
) -> F64:
    """Return the CPU-seconds of all roles but the evaluator when so many train_steps were made.

    Args:
        directory: the run folder.
        summary: its ``summary.json``.
        train_steps: ascending; those of evaluations, the final one last.

    Returns:
        A value for each, the whole run's for the last; nan where it is not known: everywhere but
        at the end without metric rows, everywhere in a run that kept no sums.

    Raises:
        ValueError: metric rows that cannot be read.
    """
    totals = {r: s for r, s in (summary.get("cpu_seconds") or {}).items() if r != NOT_TRAINING}
    spent = np.full(len(train_steps), np.nan)
    if not totals:
        return spent
    whole = float(sum(totals.values()))
    found = list(windows(read_rows(directory)))
    made = [
        (window.until, window.values["learner/train_steps"])
        for window in found
        if "learner/train_steps" in window.values
    ]
    if made:
        when, steps = np.array(sorted(made)).T
        # A resumed run makes train_steps again: their first cost counts too.
        at = np.interp(np.asarray(train_steps, np.float64), np.maximum.accumulate(steps), when)
        later = np.zeros(len(train_steps))
        for window in found:
            if window.role in totals:
                part = np.clip(window.until - at, 0.0, window.seconds)
                later += window.values[cpu_share_name(window.role)] * part
        spent = np.maximum.accumulate(np.clip(whole - later, 0.0, whole))
    spent[-1] = whole
    return np.asarray(spent, np.float64)

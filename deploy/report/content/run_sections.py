"""The sections on the runs themselves: what differs, where their time went, what was left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deploy.report import figures, tables
from deploy.report.comparison import cautions, difference_rows, version_rows
from deploy.report.content.section import Section
from deploy.report.runs import LeftOut, Run
from deploy.report.scores import methods_of

_ROLES = ("learner", "actor", "reanalyzer", "evaluator", "replay")


def compared(runs: Sequence[Run]) -> Section:
    """Return versions and settings of each method, and the differences that limit comparison."""
    methods = methods_of(runs)
    versions = version_rows(runs)
    same = [row[:2] for row in versions if len(set(row[1:])) == 1]
    several = [row for row in versions if len(set(row[1:])) > 1]
    found = [
        tables.Table(header=("version of", "in all methods"), rows=same),
        tables.Table(header=("version of", *methods), rows=several),
        tables.Table(header=("config field", *methods), rows=difference_rows(runs)),
    ]
    lines = cautions(runs)
    return Section(
        title="What is compared",
        reading=(
            "Commit and versions of each method, then the fields of the config that differ."
            + " Read the scores with these in mind:" * bool(lines)
        ),
        notes=lines or ["Budgets, environments, commits and versions are the same in all runs."],
        tables=[table for table in found if table.rows],
    )


def time_shares(runs: Sequence[Run]) -> Section:
    """Return what every role's time went to, a figure a method."""
    pictures, shares = [], {}
    for number, method in enumerate(methods_of(runs)):
        of_method = [run for run in runs if run.method == method]
        shares[method] = {
            role: _mean_shares([r.time_shares[role] for r in of_method if role in r.time_shares])
            for role in _ROLES
            if any(role in run.time_shares for run in of_method)
        }
        if shares[method]:
            title = f"{method} ({len(of_method)} run{'s' * (len(of_method) > 1)})"
            pictures.append((f"time_{number}", figures.time_breakdown(shares[method], title)))
    return Section(
        title="Where the time goes",
        reading=(
            "One bar a role, all its processes and runs together: work in colors, waiting for "
            "other processes in gray, time in no section pale. A role that never waits is the "
            "one to give more processes."
        ),
        figures=pictures,
        tables=[tables.time_table(shares)],
    )


def fairness(runs: Sequence[Run]) -> Section:
    """Return the ratios that each run achieved."""
    table = tables.fairness_table(runs)
    missing = sum(not run.fairness for run in runs)
    return Section(
        title="Fairness stamps",
        reading=(
            "What each run achieved of the ratios that make runs comparable, from its "
            "summary.json; runs whose stamps differ should not be compared by score alone."
            + f" {missing} of {len(runs)} runs have no stamp."
            * bool(missing)
        ),
        tables=[table] if table else [],
    )


def left_out(unusable: Sequence[LeftOut]) -> list[Section]:
    """Return what was given and is not in the report; no section if that is nothing."""
    if not unusable:
        return []
    rows = [(one.name, one.reason) for one in unusable]
    return [
        Section(
            title="Left out",
            reading="What was given and is not in this report.",
            tables=[tables.Table(header=("given", "why"), rows=rows, is_text=True)],
        )
    ]


def _mean_shares(shares: Sequence[dict[str, float]]) -> dict[str, float]:
    names = sorted({name for each in shares for name in each})
    return {name: float(np.mean([each.get(name, 0.0) for each in shares])) for name in names}

"""The report's sections, each with a reading guide, figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from deploy.report import estimates, figures, tables
from deploy.report.comparison import (
    cautions,
    choose_baseline,
    difference_rows,
    families,
    version_rows,
)
from deploy.report.curves import TRAINING, return_curves, training_curves
from deploy.report.runs import LeftOut, Run
from deploy.report.scores import common_environments, make_scales, methods_of, score_matrices

_MOST_BARS = 12
_MOST_NAMED = 3
_MOST_TRAININGS = 6
_ROLES = ("learner", "actor", "reanalyzer", "evaluator", "replay")


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


def make_sections(
    runs: Sequence[Run], *, baseline: str = "", samples: int, left_out: Sequence[LeftOut] = ()
) -> list[Section]:
    """Return the report's sections.

    Args:
        runs: as ``labelled`` returns them.
        baseline: the method that others are compared with; empty: the full agent.
        samples: bootstrap resamples behind each interval.
        left_out: what was given and could not be used.
    """
    of_families = families(runs)
    return [
        _compared(runs),
        *(
            section
            for number, family in enumerate(of_families)
            for section in _aggregates(
                family,
                baseline=choose_baseline(family, baseline),
                samples=samples,
                number=number if len(of_families) > 1 else None,
            )
        ),
        _curves(runs, samples=samples),
        *_training(runs, samples=samples),
        _environments(runs),
        *(
            section
            for number, family in enumerate(of_families)
            for section in _leverage(family, number if len(of_families) > 1 else None)
        ),
        _time(runs),
        _fairness(runs),
        Section(
            title="Runs",
            reading=(
                "Every run in this report; the return is the mean of its final evaluation, or of "
                "its newest where that is said."
            ),
            tables=[tables.run_table(runs)],
        ),
        *_left_out(left_out),
    ]


def _left_out(left_out: Sequence[LeftOut]) -> list[Section]:
    if not left_out:
        return []
    rows = [(one.name, one.reason) for one in left_out]
    return [
        Section(
            title="Left out",
            reading="What was given and is not in this report.",
            tables=[tables.Table(header=("given", "why"), rows=rows, is_text=True)],
        )
    ]


def _compared(runs: Sequence[Run]) -> Section:
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


def _aggregates(
    runs: Sequence[Run], *, baseline: str | None, samples: int, number: int | None
) -> list[Section]:
    """Return the aggregates of one family; ``number``: of several."""
    methods, environments = methods_of(runs), common_environments(runs)
    names = sorted({run.env_id for run in runs})
    title = "Aggregates" + f": {_few(names)}" * (number is not None)
    ending = "" if number is None else f"_{number}"
    if not environments:
        reading = "None: no environment was run with all methods."
        return [Section(title=title, reading=reading)]
    scales = make_scales(runs)
    matrices = score_matrices(runs, scales)
    numbers = estimates.aggregate(matrices, samples=samples)
    better = estimates.improvement(matrices, baseline, samples=samples) if baseline else {}
    pictures = [
        (f"{name.replace(' ', '_')}{ending}", figures.intervals(name, of_methods, methods))
        for name, of_methods in numbers.items()
    ]
    if better and baseline:
        pictures.append((f"improvement{ending}", figures.improvements(better, methods, baseline)))
    meanings = sorted({scales[env].meaning for env in environments})
    seeds = {method: len(matrix) for method, matrix in matrices.items()}
    reading = (
        f"Normalised final scores ({'; '.join(meanings)}) over {_environments_text(runs)} and "
        f"{_seeds_text(set(seeds.values()))} each: the line is the estimate, the bar its 95 % "
        f"stratified bootstrap interval ({samples} resamples); a single seed has none. Right is "
        "better, except for the optimality gap, what is missing to 1."
    )
    if better:
        reading += f" The baseline is {baseline}: above 0.5 a method more often beats it than not."
    elif len(methods) > 1:
        reading += " No method is the full agent; --baseline names one that others are compared to."
    return [
        Section(
            title=title,
            reading=reading,
            figures=pictures,
            tables=[tables.aggregate_table(numbers, better, seeds, baseline)],
        )
    ]


def _curves(runs: Sequence[Run], *, samples: int) -> Section:
    methods = methods_of(runs)
    environments = sorted({run.env_id for run in runs})
    of_environments = [return_curves(runs, env_id, samples=samples) for env_id in environments]
    counts = {
        sum((run.env_id, run.method) == key for run in runs)
        for key in {(run.env_id, run.method) for run in runs}
    }
    return Section(
        title="Learning curves",
        reading=(
            f"Mean evaluation return of {_seeds_text(counts)} over env_steps, where all of them "
            "have evaluations; the band is the 95 % bootstrap interval of the mean over seeds "
            "(none for one seed)."
        ),
        methods=methods,
        figures=[
            (f"curve_{number}", figures.curves(env_id, "env_steps", curves, methods))
            for number, (env_id, curves) in enumerate(
                zip(environments, of_environments, strict=True)
            )
        ],
    )


def _training(runs: Sequence[Run], *, samples: int) -> list[Section]:
    """Return the learner's losses, entropies and values, a section an environment."""
    methods = methods_of(runs)
    environments = sorted({run.env_id for run in runs if run.training})
    return [
        Section(
            title="Training" + f": {env_id}" * (len(environments) > 1),
            reading=(
                "The learner's own metrics over train_steps, mean over seeds with its 95 % "
                "bootstrap interval (none for one seed); docs/reference/metrics.md says what each "
                "means."
                + f" Of {len(environments)} environments the first {_MOST_TRAININGS} are shown."
                * (len(environments) > _MOST_TRAININGS)
            ),
            methods=methods,
            figures=[
                (
                    f"training_{number}_{metric}",
                    figures.curves(TRAINING[metric], "train_steps", curves, methods),
                )
                for metric, curves in training_curves(runs, env_id, samples=samples).items()
            ],
        )
        for number, env_id in enumerate(environments[:_MOST_TRAININGS])
    ]


def _environments(runs: Sequence[Run]) -> Section:
    of_runs = tables.environment_tables(runs)
    return Section(
        title="Environments",
        reading=(
            "Final raw return: mean over n seeds, the lowest and the highest in brackets."
            + " Below, next to published scores (not run here, and protocols differ; sources in "
            "efficientzero/envs/atari/scores.py), with human-normalised aggregates over the games "
            "of this report. The column of EfficientZero V2 is digitised: read off the curves in "
            "its repository (2 % of an axis). It does not give the mean and the median that the "
            "paper reports, so that it has none here." * (len(of_runs) > 1)
        ),
        tables=of_runs,
    )


def _leverage(runs: Sequence[Run], number: int | None) -> list[Section]:
    environments, methods = common_environments(runs), methods_of(runs)
    if len(environments) <= 1:
        return []
    matrices = score_matrices(runs, make_scales(runs))
    without = {method: estimates.without_each(matrix) for method, matrix in matrices.items()}
    changes = {
        method: {
            env: rest["mean"] - float(np.mean(matrices[method]))
            for env, rest in zip(environments, without[method], strict=True)
        }
        for method in methods
    }
    order = sorted(environments, key=lambda env: -max(abs(changes[m][env]) for m in methods))
    shown = order[:_MOST_BARS]
    return [
        Section(
            title="Leverage" + f": {_few(environments)}" * (number is not None),
            methods=methods,
            reading=(
                "What the aggregates would be without each environment, the most influential "
                "first: a long bar means that the mean rests on that environment; to the left, "
                f"it would fall. {_environments_text(runs)}, "
                f"{_seeds_text({len(matrix) for matrix in matrices.values()})} each"
                + f"; bars for the first {len(shown)}" * (len(shown) < len(order))
                + "."
            ),
            figures=[
                (
                    "leverage" + ("" if number is None else f"_{number}"),
                    figures.leverage(changes, methods, shown),
                )
            ],
            tables=[tables.leverage_table(matrices, without, environments, order)],
        )
    ]


def _time(runs: Sequence[Run]) -> Section:
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


def _mean_shares(shares: Sequence[dict[str, float]]) -> dict[str, float]:
    names = sorted({name for each in shares for name in each})
    return {name: float(np.mean([each.get(name, 0.0) for each in shares])) for name in names}


def _fairness(runs: Sequence[Run]) -> Section:
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


def _few(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _environments_text(runs: Sequence[Run]) -> str:
    number = len(common_environments(runs))
    return f"{number} environment{'s' * (number > 1)}"


def _seeds_text(counts: set[int]) -> str:
    low, high = min(counts), max(counts)
    number = str(low) if low == high else f"{low} to {high}"
    return f"{number} seed{'s' * (high > 1)}"

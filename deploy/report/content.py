"""What the report says: its sections, each with how to read it, figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from deploy.report import estimates, figures, tables
from deploy.report.runs import Run
from deploy.report.scores import common_environments, make_scales, methods_of, score_matrices
from efficientzero.schema import F64

_CURVE_POINTS = 60
_MOST_BARS = 12
_ROLES = ("learner", "actor", "reanalyzer", "evaluator", "replay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page."""

    title: str
    reading: str
    """How to read it, and of how many runs it is."""
    figures: Sequence[tuple[str, Figure]] = ()
    """(file name without ending, figure)."""
    tables: Sequence[tables.Table] = ()


def make_sections(runs: Sequence[Run], *, baseline: str, samples: int) -> list[Section]:
    """Return the report's sections.

    Args:
        runs: as ``read_runs`` returns them.
        baseline: the method that others are compared with.
        samples: bootstrap resamples behind each interval.
    """
    return [
        _aggregates(runs, baseline=baseline, samples=samples),
        _curves(runs, samples=samples),
        _environments(runs),
        *_leverage(runs),
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
    ]


def common_curve(seeds: Sequence[Run]) -> tuple[F64, F64]:
    """Return env_steps [points] and mean returns [seeds, points] where all seeds have some.

    Seeds are evaluated at different env_steps: linear in between. Of several evaluations at the
    same env_steps (training goes on after collection) the last counts.
    """
    curves = [
        np.array(list({e.env_steps: e.mean for e in run.evaluations}.items()), np.float64).T
        for run in seeds
    ]
    first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    x = np.linspace(first, last, _CURVE_POINTS) if last > first else np.array([last])
    return x, np.array([np.interp(x, *curve) for curve in curves])


def _aggregates(runs: Sequence[Run], *, baseline: str, samples: int) -> Section:
    scales, methods, environments = make_scales(runs), methods_of(runs), common_environments(runs)
    matrices = score_matrices(runs, scales)
    numbers = estimates.aggregate(matrices, samples=samples)
    better = estimates.improvement(matrices, baseline, samples=samples)
    pictures = [("aggregates", figures.intervals(numbers, methods))]
    if better:
        pictures.append(("improvement", figures.improvements(better, methods, baseline)))
    meanings = sorted({scales[env].meaning for env in environments})
    seeds = {method: len(matrix) for method, matrix in matrices.items()}
    return Section(
        title="Aggregates",
        reading=(
            f"Normalised final scores ({'; '.join(meanings)}) over {_environments_text(runs)} and "
            f"{_seeds_text(set(seeds.values()))} each: the line is the estimate, the bar its 95 % "
            f"stratified bootstrap interval ({samples} resamples). Right is better, except for "
            "the optimality gap, what is missing to 1."
            + " Above 0.5 a method more often beats the baseline than not."
            * bool(better)
        ),
        figures=pictures,
        tables=[tables.aggregate_table(numbers, better, seeds, baseline)],
    )


def _curves(runs: Sequence[Run], *, samples: int) -> Section:
    methods = methods_of(runs)
    panels: dict[str, dict[str, figures.Curve]] = {}
    counts = set()
    for env_id in sorted({run.env_id for run in runs}):
        panels[env_id] = {}
        for method in methods:
            seeds = [run for run in runs if (run.env_id, run.method) == (env_id, method)]
            if seeds:
                counts.add(len(seeds))
                x, values = common_curve(seeds)
                panels[env_id][method] = (x, *estimates.band(values, samples=samples))
    return Section(
        title="Learning curves",
        reading=(
            f"Mean evaluation return of {_seeds_text(counts)} over env_steps, where all of them "
            "have evaluations; the band is the 95 % bootstrap interval of the mean over seeds "
            "(none for one seed)."
        ),
        figures=[("learning_curves", figures.learning_curves(panels, methods))],
    )


def _environments(runs: Sequence[Run]) -> Section:
    of_runs = tables.environment_tables(runs)
    return Section(
        title="Environments",
        reading=(
            "Final raw return: mean over n seeds, the lowest and the highest in brackets."
            + " Below, beside published scores (not run here, and protocols differ; sources in "
            "efficientzero/envs/atari_scores.py), with human-normalised aggregates over the games "
            "of this report." * (len(of_runs) > 1)
        ),
        tables=of_runs,
    )


def _leverage(runs: Sequence[Run]) -> list[Section]:
    environments, methods = common_environments(runs), methods_of(runs)
    if len(environments) == 1:
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
            title="Leverage",
            reading=(
                "What the aggregates would be without each environment, the most influential "
                "first: a long bar means that the mean rests on that environment; to the left, "
                f"it would fall. {_environments_text(runs)}, "
                f"{_seeds_text({len(matrix) for matrix in matrices.values()})} each"
                + f"; bars for the first {len(shown)}" * (len(shown) < len(order))
                + "."
            ),
            figures=[("leverage", figures.leverage(changes, methods, shown))],
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


def _environments_text(runs: Sequence[Run]) -> str:
    number = len(common_environments(runs))
    return f"{number} environment{'s' * (number > 1)}"


def _seeds_text(counts: set[int]) -> str:
    low, high = min(counts), max(counts)
    number = str(low) if low == high else f"{low} to {high}"
    return f"{number} seed{'s' * (high > 1)}"

"""The sections on final scores: aggregates, what they rest on, and single environments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deploy.report import estimates, figures, tables
from deploy.report.content.section import Section, environments_text, few, seeds_text
from deploy.report.runs import Run
from deploy.report.scores import common_environments, make_scales, methods_of, score_matrices

_MOST_BARS = 12


def aggregates(
    runs: Sequence[Run], *, baseline: str | None, samples: int, number: int | None
) -> list[Section]:
    """Return the aggregates of one family; ``number``: of several."""
    methods, environments = methods_of(runs), common_environments(runs)
    names = sorted({run.env_id for run in runs})
    title = "Aggregates" + f": {few(names)}" * (number is not None)
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
        f"Normalised final scores ({'; '.join(meanings)}) over {environments_text(runs)} and "
        f"{seeds_text(set(seeds.values()))} each: the line is the estimate, the bar its 95 % "
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


def leverage(runs: Sequence[Run], number: int | None) -> list[Section]:
    """Return what the aggregates would be without each environment of one family."""
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
            title="Leverage" + f": {few(environments)}" * (number is not None),
            methods=methods,
            reading=(
                "What the aggregates would be without each environment, the most influential "
                "first: a long bar means that the mean rests on that environment; to the left, "
                f"it would fall. {environments_text(runs)}, "
                f"{seeds_text({len(matrix) for matrix in matrices.values()})} each"
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


def environments(runs: Sequence[Run]) -> Section:
    """Return the scores of each environment, next to published ones."""
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

"""The page next to the picture: its numbers as Markdown tables, and what they were made with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from benchmarks.baselines.curves import LEVELS, LearningCurve, by_algorithm
from benchmarks.baselines.drawing import NAMES
from benchmarks.learning.cells import BASELINES_OF_VARIANTS, CHANGES, FULL, TASKS, VARIANTS
from benchmarks.learning.intervals import CONFIDENCE, Interval, mean_interval
from benchmarks.learning.results import (
    BASELINES,
    Result,
    baseline_return,
    final_cpu_seconds,
    final_return,
    gain_of_search,
    paired_difference,
    return_curve,
    return_over_training,
    select,
    training_returns,
)
from benchmarks.markdown import interval_text, number_text, revision_text, table
from efficientzero.config import Config

_FRACTIONS = (0.125, 0.25, 0.5, 0.75, 1.0)
_NUM_PARTS = 8  # of the env_steps, each with its training games


def make_page(
    results: Sequence[Result],
    *,
    plain: Sequence[LearningCurve],
    variant_task: str,
    picture: str,
    command: str,
    missing: Sequence[str],
) -> str:
    """Return the page.

    Args:
        results: finished cells, at least one of them full.
        plain: curves of plain DQN, PPO and the like, of any environments.
        variant_task: the task whose variants are told.
        picture: the picture's file name; the CSV of all points has the same with .csv.
        command: what made the page.
        missing: one line for each cell of the plan that is not among the results.
    """
    points = Path(picture).with_suffix(".csv").name
    tasks = [task for task in TASKS if select(results, task)]
    variants = [v for v in (FULL, *VARIANTS) if select(results, variant_task, v)]
    parts = [
        "# Learning",
        f"Made by `{command}`; `benchmarks/README.md` says what it does. "
        f"Returns are means over n seeds with the {CONFIDENCE:.0%} bootstrap interval in brackets "
        "(percentile; with n = 3 that is the smallest to the largest seed). A seed's return is the "
        "mean of its final evaluation's episodes. The gain of search is the mean of the seeds' own "
        "differences, for both play the same weights. CPU-s: CPU-seconds of training, a seed's "
        f"mean, evaluations not counted. Every point of every run: [{points}]({points}).",
        f"![return against env_steps]({picture})",
        "## Final return",
        _final_table(results, tasks, plain),
        "## Return against env_steps",
        _curve_table(results, tasks),
        "## Return of the games played to train on, with exploration, by parts of the env_steps",
        _training_table(results, tasks),
    ]
    if len(variants) > 1:
        env_id = select(results, variant_task, variants[0])[0].cell.config.env.id
        parts += [
            f"## One part left out: {env_id}",
            "The mean over training weighs all env_steps between the first evaluation and the last "
            f"alike. The last games to train on are of the last 1/{_NUM_PARTS} of the env_steps, "
            "and with exploration. no-search is trained without search, too: with one simulation "
            "of Gumbel's search. It is compared with that search at the preset's simulations, "
            "which where the preset's is pUCT is the variant gumbel. Pairs: mean of the seeds' own "
            "differences to what the variant is compared with.",
            _variant_table(results, variant_task, variants),
        ]
    parts += ["## Runs", _runs_table(results)]
    if missing:
        parts += ["## Missing", "\n".join(f"* {line}" for line in missing)]
    parts += ["## Made with", _versions(results)]
    return "\n\n".join(parts) + "\n"


def _final_table(
    results: Sequence[Result], tasks: Sequence[str], plain: Sequence[LearningCurve]
) -> str:
    rows = []
    for task in tasks:
        chosen = select(results, task)
        reached = final_return(chosen)
        levels = [baseline_return(chosen, policy) for policy in BASELINES]
        apart = ["yes" if reached.is_apart_from(level) else "no" for level in levels]
        minutes = mean_interval([result.summary["wall_s"] / 60.0 for result in chosen]).mean
        rows.append(
            (
                chosen[0].cell.config.env.id,
                reached.n,
                interval_text(reached),
                *map(interval_text, levels),
                " / ".join(apart),
                interval_text(gain_of_search(chosen)),
                chosen[0].run.last.env_steps,
                chosen[0].run.last.train_steps,
                f"{minutes:.1f}",
                number_text(final_cpu_seconds([r.learning_curve for r in chosen]), 0),
            )
        )
        rows += _plain_rows(chosen[0].cell.config, plain)
    titles = ("task", "n", "with search", "without search", "random", "apart from these")
    steps = ("gain of search", "env_steps", "train_steps", "minutes", "CPU-s")
    return table((*titles, *steps), rows)


def _plain_rows(config: Config, plain: Sequence[LearningCurve]) -> list[tuple[object, ...]]:
    """Return a row for each plain algorithm on the task; it searches nothing."""
    methods = by_algorithm(plain, config.env.id, config.budget.env_steps)
    rows: list[tuple[object, ...]] = []
    for method, curves in methods.items():
        if method in LEVELS:
            continue  # each run plays at random itself, on its own games
        reached = mean_interval([curve.last_return for curve in curves])
        env_steps = f"{max(curve.env_steps[-1] for curve in curves):.0f}"
        name, cost = f"{config.env.id}: {NAMES.get(method, method)}", final_cpu_seconds(curves)
        start = (name, reached.n, "", interval_text(reached), "", "", "")
        rows.append((*start, env_steps, "", "", number_text(cost, 0)))
    return rows


def _curve_table(results: Sequence[Result], tasks: Sequence[str]) -> str:
    rows = []
    for task in tasks:
        chosen = select(results, task)
        points, means, lows, highs = return_curve(chosen)
        budget = chosen[0].cell.config.budget.env_steps
        cells = []
        for fraction in _FRACTIONS:
            x = fraction * budget
            if not points.size or not points[0] <= x <= points[-1]:
                cells.append("")
                continue
            mean, low, high = (float(np.interp(x, points, y)) for y in (means, lows, highs))
            cells.append(interval_text(Interval(mean=mean, low=low, high=high, n=len(chosen))))
        rows.append((chosen[0].cell.config.env.id, budget, *cells))
    return table(("task", "all env_steps", *(f"at {f:.4g}" for f in _FRACTIONS)), rows)


def _training_table(results: Sequence[Result], tasks: Sequence[str]) -> str:
    rows = []
    for task in tasks:
        chosen = select(results, task)
        edges = np.linspace(0, chosen[0].cell.config.budget.env_steps, _NUM_PARTS + 1).tolist()
        found = training_returns(chosen, edges)
        cells = ["" if interval is None else interval_text(interval) for interval in found]
        rows.append((chosen[0].cell.config.env.id, *cells))
    return table(("task", *(f"{i}/{_NUM_PARTS}" for i in range(1, _NUM_PARTS + 1))), rows)


def _variant_table(results: Sequence[Result], task: str, variants: Sequence[str]) -> str:
    levels = {v: _levels(select(results, task, v)) for v in variants}
    rows = []
    for variant, found in levels.items():
        options = "" if variant == FULL else " ".join(f"`--{o}`" for o in CHANGES[variant])
        baseline = BASELINES_OF_VARIANTS.get(variant, FULL)
        baseline = baseline if baseline in levels else FULL
        pairs = zip(found, levels.get(baseline, []), strict=False)  # no baseline, no pairs
        apart = "" if variant == FULL else " / ".join(_apart(a, b) for a, b in pairs)
        apart = apart if baseline == FULL else f"{baseline}: {apart}"
        n = len(select(results, task, variant))
        means = ("" if i is None else interval_text(i) for i in found)
        differences = (
            ["", ""] if variant == FULL else _differences(results, task, variant, baseline)
        )
        rows.append((variant, options, n, *means, apart, *differences))
    measures = ("final return", "mean over training", "last games to train on")
    pairs_of = ("pairs: final return", "pairs: mean over training")
    return table(("variant", "options", "n", *measures, "apart from full", *pairs_of), rows)


def _differences(results: Sequence[Result], task: str, variant: str, baseline: str) -> list[str]:
    """Return the seeds' own differences to what the variant is compared with, as text."""
    pair = select(results, task, variant), select(results, task, baseline)
    measures: tuple[Callable[[Result], float], ...] = (
        lambda result: result.run.last.mean,
        lambda result: result.mean_over_training,
    )
    found = [paired_difference(*pair, measure) for measure in measures]
    return ["" if i is None else f"{interval_text(i)} (n = {i.n})" for i in found]


def _levels(results: Sequence[Result]) -> list[Interval | None]:
    """Return what variants are compared by, as the table's columns say."""
    budget = results[0].cell.config.budget.env_steps
    edges = (budget * (1 - 1 / _NUM_PARTS), budget)
    return [
        final_return(results),
        return_over_training(results),
        *training_returns(results, edges),
    ]


def _apart(one: Interval | None, other: Interval | None) -> str:
    if one is None or other is None:
        return "-"
    return "yes" if one.is_apart_from(other) else "no"


def _runs_table(results: Sequence[Result]) -> str:
    rows = []
    for result in results:
        cell, last = result.cell, result.run.last
        rows.append(
            (
                cell.task,
                cell.variant,
                cell.seed,
                f"{last.mean:.2f}",
                len(last.returns),
                *(number_text(result.baselines.get(policy)) for policy in BASELINES),
                f"{result.summary['wall_s'] / 60.0:.1f}",
                cell.key[0],
                revision_text(result.summary["versions"].get("git_commit", "")),
            )
        )
    titles = ("task", "variant", "seed", "with search", "episodes", "without search", "random")
    return table((*titles, "minutes", "config", "revision"), rows)


def _versions(results: Sequence[Result]) -> str:
    """Return the versions of the runs' packages and revisions, all that occurred, and of ours."""
    names = dict.fromkeys(name for result in results for name in result.summary["versions"])
    rows = []
    for name in names:
        values = {result.summary["versions"].get(name, "unknown") for result in results}
        rows.append((name, ", ".join(sorted(values))))
    rows += [(f"{name} (this page)", metadata.version(name)) for name in ("scipy", "matplotlib")]
    return table(("what", "version"), rows)

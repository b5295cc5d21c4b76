"""The page with the picture: its numbers as Markdown tables, and the versions that made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata

import numpy as np

from benchmarks.baselines.curves import LEVELS, LearningCurve, by_algorithm
from benchmarks.baselines.drawing import NAMES
from benchmarks.learning.bars import Bar, bars_table
from benchmarks.learning.intervals import CONFIDENCE, Interval, mean_interval
from benchmarks.learning.opponents import opponents_parts
from benchmarks.learning.results import (
    ALONE,
    Result,
    by_task,
    final_cpu_seconds,
    final_return,
    gain_of_search,
    paired_difference,
    return_alone,
    return_curve,
    return_over_training,
    training_returns,
)
from benchmarks.pages.aggregates import aggregate_parts
from benchmarks.pages.markdown import (
    FRACTIONS,
    cells_at_fractions,
    interval_text,
    number_text,
    revision_text,
    table,
)
from efficientzero.config import Config

_NUM_PARTS = 8  # of the env_steps, each with its training games


def make_page(
    results: Sequence[Result],
    *,
    plain: Sequence[LearningCurve],
    reference: str,
    absent: Sequence[Config] = (),
    bars: Sequence[Bar] = (),
    files: tuple[str, str, str],
    made_by: Sequence[str],
    missing: Sequence[str],
) -> str:
    """Return the page.

    Args:
        results: at least one; arms are compared with their environment's first arm.
        plain: curves of plain DQN, PPO and the like, of any environments.
        reference: of several environments, the algorithm among them whose mean is the score 1.
        absent: one for each further environment, of which no run has finished.
        bars: what runs should reach; without any there is no such table.
        files: names of the picture, of the CSV of all points, and of that of all matches, in the
            page's folder.
        made_by: commands.
        missing: one line for each run that is not among the results.
    """
    picture, points, matches = files
    tasks = by_task(results)
    first = {env_id: next(iter(arms.values())) for env_id, arms in tasks.items()}
    parts = [
        f"# Learning: {', '.join(tasks)}",
        f"Made by {', then '.join(f'`{command}`' for command in made_by)}; "
        "`benchmarks/README.md` explains it. Returns are means over n "
        f"seeds with the {CONFIDENCE:.0%} bootstrap interval in brackets "
        "(percentile; with n = 3 that is the smallest to the largest seed). A seed's return is the "
        "mean of its final evaluation's episodes; of an agent without a search it stands under "
        "without search. The gain of search is the mean of the seeds' own "
        "differences, because both play the same weights. CPU-s: CPU-seconds of training, a seed's "
        f"mean, evaluations not counted. Every point of every run: [{points}]({points}).",
        f"![return against env_steps]({picture})",
        "## Final return",
        final_table(first, plain, absent),
    ]
    if bars:
        parts += ["## Worst seeds and bars", bars_table(tasks, plain, bars)]
    parts += [*opponents_parts(tasks, matches), *aggregate_parts(results, plain, reference)]
    parts += [
        "## Return against env_steps",
        _curve_table(first),
        "## Return of the games played to train on, with exploration, by parts of the env_steps",
        _training_table(first),
    ]
    for env_id, arms in tasks.items():
        if len(arms) > 1:
            parts += [
                f"## Arms: {env_id}",
                "The mean over training weighs all env_steps between the first evaluation and the "
                f"last alike. The last games to train on are of the last 1/{_NUM_PARTS} of the "
                f"env_steps, and with exploration. Arms are compared with {next(iter(arms))}; "
                "pairs: mean of the seeds' own differences to it.",
                _arm_table(arms),
            ]
    parts += ["## Runs", runs_table(results)]
    if missing:
        parts += ["## Missing", "\n".join(f"* {line}" for line in missing)]
    parts += ["## Made with", versions_table(results)]
    return "\n\n".join(parts) + "\n"


def final_table(
    tasks: Mapping[str, Sequence[Result]],
    plain: Sequence[LearningCurve],
    absent: Sequence[Config] = (),
) -> str:
    """Return what each environment's runs reach with search and without, and plain algorithms.

    Of an agent that never searches, final evaluations are what it reaches without. Of the
    environments of ``absent`` there are plain algorithms alone.
    """
    rows: list[tuple[object, ...]] = []
    for env_id, chosen in tasks.items():
        reached = final_return(chosen)
        alone, random = (return_alone(chosen, policy) for policy in ALONE)
        searches = chosen[0].searches
        apart = ["yes" if reached.is_apart_from(level) else "no" for level in (alone, random)]
        minutes = mean_interval([result.summary["wall_s"] / 60.0 for result in chosen]).mean
        rows.append(
            (
                env_id,
                reached.n,
                interval_text(reached) if searches else "",
                interval_text(alone if searches else reached),
                interval_text(random),
                " / ".join(apart if searches else ("-", apart[1])),
                interval_text(gain_of_search(chosen)) if searches else "",
                chosen[0].last.env_steps,
                chosen[0].last.train_steps,
                f"{minutes:.1f}",
                number_text(final_cpu_seconds([r.learning_curve for r in chosen]), 0),
            )
        )
        rows += _plain_rows(chosen[0].config, plain, has_random=True)
    for config in absent:
        rows += _plain_rows(config, plain, has_random=False)
    titles = ("task", "n", "with search", "without search", "random", "apart from these")
    steps = ("gain of search", "env_steps", "train_steps", "minutes", "CPU-s")
    return table((*titles, *steps), rows)


def _plain_rows(
    config: Config, plain: Sequence[LearningCurve], *, has_random: bool
) -> list[tuple[object, ...]]:
    """Return a row for each plain algorithm on the task; it searches nothing.

    Args:
        config: environment and budget.
        plain: curves of all tasks.
        has_random: runs have played at random themselves, on their own games, of legal actions.
    """
    methods = by_algorithm(plain, config.env.id, config.budget.env_steps)
    shows_levels = not has_random or set(LEVELS) <= set(methods)
    rows: list[tuple[object, ...]] = []
    for method, curves in methods.items():
        if method in LEVELS and not shows_levels:
            continue
        reached = mean_interval([curve.last_return for curve in curves])
        last = max(curve.env_steps[-1] for curve in curves)
        env_steps = "" if method in LEVELS else f"{last:.0f}"
        name, cost = f"{config.env.id}: {NAMES.get(method, method)}", final_cpu_seconds(curves)
        start = (name, reached.n, "", interval_text(reached), "", "", "")
        rows.append((*start, env_steps, "", "", number_text(cost, 0)))
    return rows


def _curve_table(tasks: Mapping[str, Sequence[Result]]) -> str:
    rows = []
    for env_id, chosen in tasks.items():
        budget = chosen[0].config.budget.env_steps
        cells = cells_at_fractions(return_curve(chosen), budget, n=len(chosen))
        rows.append((env_id, budget, *cells))
    return table(("task", "all env_steps", *(f"at {f:.4g}" for f in FRACTIONS)), rows)


def _training_table(tasks: Mapping[str, Sequence[Result]]) -> str:
    rows = []
    for env_id, chosen in tasks.items():
        edges = np.linspace(0, chosen[0].config.budget.env_steps, _NUM_PARTS + 1).tolist()
        found = training_returns(chosen, edges)
        cells = ["" if interval is None else interval_text(interval) for interval in found]
        rows.append((env_id, *cells))
    return table(("task", *(f"{i}/{_NUM_PARTS}" for i in range(1, _NUM_PARTS + 1))), rows)


def _arm_table(arms: Mapping[str, Sequence[Result]]) -> str:
    (name, baseline), *_ = arms.items()
    of_baseline, rows = compared_levels(baseline), []
    for arm, results in arms.items():
        levels = compared_levels(results)
        apart = " / ".join(_apart(a, b) for a, b in zip(levels, of_baseline, strict=True))
        means = ("" if i is None else interval_text(i) for i in levels)
        compared = ("", "", "") if arm == name else (apart, *differences_text(results, baseline))
        rows.append((arm, len(results), *means, *compared))
    measures = ("final return", "mean over training", "last games to train on")
    pairs_of = ("pairs: final return", "pairs: mean over training")
    return table(("arm", "n", *measures, f"apart from {name}", *pairs_of), rows)


def differences_text(results: Sequence[Result], baseline: Sequence[Result]) -> list[str]:
    """Return the seeds' differences to the baseline arm, as text."""
    measures: tuple[Callable[[Result], float], ...] = (
        lambda result: result.last.mean,
        lambda result: result.mean_over_training,
    )
    found = [paired_difference(results, baseline, measure) for measure in measures]
    return ["" if i is None else f"{interval_text(i)} (n = {i.n})" for i in found]


def compared_levels(results: Sequence[Result]) -> list[Interval | None]:
    """Return the numbers by which arms are compared, in the order of the table's columns."""
    budget = results[0].config.budget.env_steps
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


def runs_table(results: Sequence[Result]) -> str:
    """Return a row for each run."""
    rows = [
        (
            result.config.env.id,
            result.arm,
            result.config.seed,
            f"{result.last.mean:.2f}" if result.searches else "",
            len(result.last.returns),
            number_text(result.alone.get("prior") if result.searches else result.last.mean),
            number_text(result.alone.get("random")),
            f"{result.summary['wall_s'] / 60.0:.1f}",
            number_text(float(result.cpu_seconds[-1]), 0),
            result.run.config_hash,
            revision_text(result.run.versions.get("git_commit", "")),
        )
        for result in results
    ]
    titles = ("task", "arm", "seed", "with search", "episodes", "without search", "random")
    return table((*titles, "minutes", "CPU-s", "config", "revision"), rows)


def versions_table(results: Sequence[Result]) -> str:
    """Return the versions of the runs' packages and revisions, all that occurred, and of ours."""
    names = dict.fromkeys(name for result in results for name in result.run.versions)
    rows = []
    for name in names:
        values = {result.run.versions.get(name, "unknown") for result in results}
        rows.append((name, ", ".join(sorted(values))))
    rows += [(f"{name} (this page)", metadata.version(name)) for name in ("scipy", "matplotlib")]
    return table(("what", "version"), rows)

"""The page with the picture: its numbers as Markdown tables, and the versions that made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata

import numpy as np

from benchmarks.baselines.curves import LEVELS, LearningCurve, by_algorithm
from benchmarks.baselines.drawing import NAMES
from benchmarks.learning.intervals import CONFIDENCE, Interval, mean_interval
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
from benchmarks.learning.scores import SAMPLES, Aggregates, normalized_aggregates
from benchmarks.pages.markdown import interval_text, number_text, revision_text, table
from deploy.report.estimates import Estimate
from efficientzero.config import Config

_FRACTIONS = (0.125, 0.25, 0.5, 0.75, 1.0)
_NUM_PARTS = 8  # of the env_steps, each with its training games


def make_page(
    results: Sequence[Result],
    *,
    plain: Sequence[LearningCurve],
    reference: str,
    files: tuple[str, str],
    made_by: Sequence[str],
    missing: Sequence[str],
) -> str:
    """Return the page.

    Args:
        results: at least one; arms are compared with their environment's first arm.
        plain: curves of plain DQN, PPO and the like, of any environments.
        reference: of several environments, the algorithm among them whose mean is the score 1.
        files: names of the picture and of the CSV of all points, in the page's folder.
        made_by: commands.
        missing: one line for each run that is not among the results.
    """
    picture, points = files
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
        final_table(first, plain),
    ]
    if len(tasks) > 1:
        parts += ["## Over all environments", *_aggregate_parts(results, plain, reference)]
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


def final_table(tasks: Mapping[str, Sequence[Result]], plain: Sequence[LearningCurve]) -> str:
    """Return what each environment's runs reach with search and without, and plain algorithms.

    Of an agent that never searches, final evaluations are what it reaches without.
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
        rows += _plain_rows(chosen[0].config, plain)
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


def _aggregate_parts(
    results: Sequence[Result], plain: Sequence[LearningCurve], reference: str
) -> list[str]:
    """Return the scores over environments, and the environments without a score."""
    name = NAMES.get(reference, reference)
    curves = [result.learning_curve for result in results]
    budgets = {r.config.env.id: r.config.budget.env_steps for r in results}
    for env_id, env_steps in budgets.items():
        curves += [c for of in by_algorithm(plain, env_id, env_steps).values() for c in of]
    aggregates = normalized_aggregates(curves, list(budgets), reference)
    parts = [
        "An environment's score is (return - random play's mean) / "
        f"({name}'s mean - random play's mean), both of the plain curves: 0 is random play, 1 is "
        f"what {name} reaches on average. IQM: mean of the middle half of all scores (Agarwal et "
        f"al., 2021), by rliable, with the {CONFIDENCE:.0%} interval of {SAMPLES:,} resamples of "
        "seeds within environments. The two means are taken as known. Only seeds count that an arm "
        "has of every environment.",
    ]
    if aggregates.games:
        parts += [
            f"Environments: {', '.join(aggregates.games)} "
            f"({len(aggregates.games)} of {len(budgets)}).",
            _aggregate_table(aggregates),
        ]
    if aggregates.left_out:
        parts.append("Left out:\n\n" + "\n".join(f"* {line}" for line in aggregates.left_out))
    return parts


def _aggregate_table(aggregates: Aggregates) -> str:
    rows = []
    for arm, seeds in aggregates.seeds.items():
        values = [by_arm.get(arm) for by_arm in aggregates.estimates.values()]
        cells = [_estimate_text(value) for value in values] or [""]
        rows.append((NAMES.get(arm, arm), len(seeds), *cells))
    return table(("arm", "seeds", *aggregates.estimates), rows)


def _estimate_text(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _curve_table(tasks: Mapping[str, Sequence[Result]]) -> str:
    rows = []
    for env_id, chosen in tasks.items():
        points, means, lows, highs = return_curve(chosen)
        budget = chosen[0].config.budget.env_steps
        cells = []
        for fraction in _FRACTIONS:
            x = fraction * budget
            if not points.size or not points[0] <= x <= points[-1]:
                cells.append("")
                continue
            mean, low, high = (float(np.interp(x, points, y)) for y in (means, lows, highs))
            cells.append(interval_text(Interval(mean=mean, low=low, high=high, n=len(chosen))))
        rows.append((env_id, budget, *cells))
    return table(("task", "all env_steps", *(f"at {f:.4g}" for f in _FRACTIONS)), rows)


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

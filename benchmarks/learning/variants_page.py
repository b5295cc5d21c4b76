"""The page of variants: a table for each question and environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.baselines.curves import LEVELS, LearningCurve, by_algorithm
from benchmarks.baselines.drawing import NAMES
from benchmarks.learning.intervals import CONFIDENCE, mean_interval
from benchmarks.learning.page import differences_text, final_table, runs_table, versions_table
from benchmarks.learning.results import (
    Result,
    by_task,
    final_cpu_seconds,
    final_return,
    return_over_training,
)
from benchmarks.learning.sections import Section
from benchmarks.pages.markdown import interval_text, number_text, table


def make_variants_page(
    found: Mapping[Section, Sequence[Result]],
    *,
    plain: Sequence[LearningCurve],
    made_by: str,
    missing: Sequence[str],
) -> str:
    """Return the page.

    Args:
        found: the finished runs of each section, at least one in all, named by their arms.
        plain: curves of plain DQN and PPO, one for each environment, algorithm and seed.
        made_by: the command.
        missing: one line for each run that is not among them.
    """
    parts = [
        "# Variants: is it the search, the model or the loss?",
        f"Made by `{made_by}` from the finished runs of `benchmarks/grids/variants`. Returns are "
        f"means over seeds with the {CONFIDENCE:.0%} bootstrap interval in brackets (percentile; "
        "with three seeds that is the smallest to the largest seed). A seed's return is the mean "
        "of its final evaluation's episodes; the mean over training weighs all env_steps between "
        "the first evaluation and the last alike. Pairs: means of the seeds' own differences to "
        "the first arm of the table. CPU-s: CPU-seconds of training, evaluations not counted.",
    ]
    for section, results in found.items():
        parts += [f"## {section.title}", section.text]
        if not results:
            parts.append("No run has finished.")
        tasks = by_task(results)
        for env_id, arms in tasks.items():
            parts += [f"### {section.title}: {env_id}", _arms_table(arms, plain)]
        if results and section.plays_weights:
            first = {env_id: next(iter(arms.values())) for env_id, arms in tasks.items()}
            parts += [
                "The weights of the first arm, with their own search and without:",
                final_table(first, []),
            ]
    once = {r.run.directory: r for results in found.values() for r in results}
    parts += [
        "## Runs",
        runs_table(list(once.values())),
        "## Groups",
        "The wandb group of each arm. A group is named after the preset nearest to its values, "
        "which need not be the grid's: arms of one grid can have groups of different presets.",
        _groups_table(found),
    ]
    if missing:
        parts += ["## Missing", "\n".join(f"* {line}" for line in missing)]
    parts += ["## Made with", versions_table(list(once.values()))]
    return "\n\n".join(parts) + "\n"


def _groups_table(found: Mapping[Section, Sequence[Result]]) -> str:
    """Return a row for each arm of each section and its group."""
    rows = {
        (section.title, result.arm, result.run.group): None
        for section, results in found.items()
        for result in results
    }
    return table(("question", "arm", "group"), list(rows))


def _arms_table(arms: Mapping[str, Sequence[Result]], plain: Sequence[LearningCurve]) -> str:
    """Return a row for each arm, then one for each plain algorithm at the most env_steps."""
    (name, baseline), *_ = arms.items()
    reached, rows = final_return(baseline), list[tuple[object, ...]]()
    for arm, results in arms.items():
        final = final_return(results)
        is_apart = "yes" if final.is_apart_from(reached) else "no"
        compared = ("", "", "") if arm == name else (is_apart, *differences_text(results, baseline))
        rows.append(
            (
                arm,
                " ".join(str(result.config.seed) for result in results),
                results[0].config.budget.env_steps,
                interval_text(final),
                interval_text(return_over_training(results)),
                number_text(final_cpu_seconds([r.learning_curve for r in results]), 0),
                *compared,
            )
        )
    (config, *_) = (results[0].config for results in arms.values())
    most = max(results[0].config.budget.env_steps for results in arms.values())
    for method, curves in by_algorithm(plain, config.env.id, most).items():
        last = mean_interval([curve.last_return for curve in curves])
        seeds = " ".join(str(curve.seed) for curve in curves)
        env_steps = "" if method in LEVELS else f"{max(c.env_steps[-1] for c in curves):.0f}"
        cost = number_text(final_cpu_seconds(curves), 0)
        named = (NAMES.get(method, method), seeds, env_steps, interval_text(last))
        rows.append((*named, "", cost, "", "", ""))
    measures = ("final return", "mean over training", "CPU-s", f"apart from {name}")
    pairs_of = ("pairs: final return", "pairs: mean over training")
    return table(("arm", "seeds", "env_steps", *measures, *pairs_of), rows)

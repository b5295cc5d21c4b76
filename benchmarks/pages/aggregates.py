"""The page's part on scores over several environments."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.baselines.curves import LearningCurve, by_algorithm
from benchmarks.baselines.drawing import NAMES
from benchmarks.learning.intervals import CONFIDENCE
from benchmarks.learning.results import Result
from benchmarks.learning.scores import SAMPLES, Aggregates, normalized_aggregates
from benchmarks.pages.markdown import table
from deploy.report.estimates import Estimate

_FEWEST = 2  # environments


def aggregate_parts(
    results: Sequence[Result], plain: Sequence[LearningCurve], reference: str
) -> list[str]:
    """Return the scores over environments, and the environments without a score.

    Nothing with one environment. Games of two players, which have no such returns, do not count.

    Args:
        results: of all environments.
        plain: curves of plain algorithms.
        reference: the one whose mean is the score 1.
    """
    results = [result for result in results if result.run.env_spec.num_players == 1]
    if len({result.config.env.id for result in results}) < _FEWEST:
        return []
    name = NAMES.get(reference, reference)
    curves = [result.learning_curve for result in results]
    budgets = {r.config.env.id: r.config.budget.env_steps for r in results}
    for env_id, env_steps in budgets.items():
        curves += [c for of in by_algorithm(plain, env_id, env_steps).values() for c in of]
    aggregates = normalized_aggregates(curves, list(budgets), reference)
    parts = [
        "## Over all environments",
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

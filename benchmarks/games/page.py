"""The page: returns by game, aggregates over games, what is missing, every run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.baselines.drawing import NAMES
from benchmarks.games.collect import Collection
from benchmarks.games.scores import (
    RANDOM,
    SAMPLES,
    Aggregates,
    final_interval,
    final_returns,
    normalized_aggregates,
)
from benchmarks.learning.intervals import CONFIDENCE
from benchmarks.markdown import interval_text, number_text, revision_text, table
from deploy.report.estimates import Estimate
from efficientzero.config import Config


def make_page(
    found: Collection,
    games: Sequence[Config],
    *,
    reference: str,
    title: str,
    commands: Sequence[str],
    files: Sequence[Path],
) -> str:
    """Return the page.

    Args:
        found: results, and what has none.
        games: a config of each game of the grid.
        reference: the method whose mean return is 1 in normalised scores.
        title: heading.
        commands: what makes the runs, the baselines and this page.
        files: the picture and the CSV, which lie in the page's folder.
    """
    names = [game.env.id for game in games]
    picture, points = files
    limit = games[0].env.final_eval_max_episode_steps or games[0].env.max_episode_steps
    aggregates = normalized_aggregates(found.curves, names, reference)
    parts = [
        f"# {title}",
        "Made by\n\n```\n" + "\n".join(commands) + "\n```",
        f"{games[0].budget.env_steps:,} env_steps of each game. A seed's return is the mean of its "
        f"last evaluation's greedy games, of at most {limit:,} steps. In brackets: the "
        f"{CONFIDENCE:.0%} bootstrap interval over seeds (percentile; with three seeds the "
        "smallest to the largest), and n if not all methods have the same number of seeds. "
        "CPU-seconds are a seed's mean, of training alone. Every point of every seed is in "
        f"[{points.name}]({points.name}).",
    ]
    if found.curves:
        parts += [
            f"![return against env_steps]({picture.name})",
            "## Return at the end, by game",
            _game_table(found, names),
            "## Over all games",
            *_aggregate_parts(aggregates, names, reference),
        ]
    parts += ["## Missing", "\n".join(f"* {line}" for line in found.missing) or "Nothing."]
    if found.runs:
        parts += ["## Runs", _runs_table(found)]
    return "\n\n".join(parts) + "\n"


def _game_table(found: Collection, games: Sequence[str]) -> str:
    methods = list(dict.fromkeys(curve.algorithm for curve in found.curves))
    counts = {len(of) for g in games for m in methods if (of := final_returns(found.curves, g, m))}
    rows = []
    for game in games:
        cells = []
        for method in methods:
            interval = final_interval(found.curves, game, method)
            text = "" if interval is None else interval_text(interval)
            cells.append(f"{text} (n = {interval.n})" if interval and len(counts) > 1 else text)
            if method != RANDOM:
                cells.append(_cost_text(found, game, method))
        rows.append((game, *cells))
    titles = [
        title
        for method in methods
        for title in (NAMES.get(method, method), *([] if method == RANDOM else ["CPU-s"]))
    ]
    return table(("game", *titles), rows)


def _cost_text(found: Collection, game: str, method: str) -> str:
    costs = [
        float(curve.cpu_seconds[-1])
        for curve in found.curves
        if (curve.env_id, curve.algorithm) == (game, method)
    ]
    return number_text(float(np.mean(costs)), 0) if costs else ""


def _aggregate_parts(aggregates: Aggregates, games: Sequence[str], reference: str) -> list[str]:
    name = NAMES.get(reference, reference)
    parts = [
        f"A game's score is (return - random play's mean) / ({name}'s mean - random play's mean), "
        "both over the seeds here: 0 is random play, 1 is what "
        f"{name} reaches on average. IQM: mean of the middle half of all scores (Agarwal et al., "
        f"2021), by rliable, with the {CONFIDENCE:.0%} interval of {SAMPLES:,} resamples of seeds "
        "within games. The two means are taken as known. Only seeds count that a method has of "
        "every game.",
    ]
    if aggregates.games:
        which = "all" if len(aggregates.games) == len(games) else ", ".join(aggregates.games)
        parts.append(f"Games: {which} ({len(aggregates.games)} of {len(games)}).")
        rows = []
        for method, seeds in aggregates.seeds.items():
            values = [by_method.get(method) for by_method in aggregates.estimates.values()]
            cells = [_estimate_text(value) for value in values] or [""]
            rows.append((NAMES.get(method, method), len(seeds), *cells))
        parts.append(table(("method", "seeds", *aggregates.estimates), rows))
    if aggregates.left_out:
        parts.append("Left out:\n\n" + "\n".join(f"* {line}" for line in aggregates.left_out))
    return parts


def _estimate_text(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _runs_table(found: Collection) -> str:
    rows = []
    for run in sorted(found.runs, key=lambda r: (r.curve.env_id, r.curve.algorithm, r.curve.seed)):
        versions = run.summary.get("versions") or {}
        rows.append(
            (
                run.curve.env_id,
                run.curve.algorithm,
                run.curve.seed,
                f"{run.curve.last_return:.2f}",
                run.num_episodes,
                number_text(run.summary["wall_s"] / 60.0, 1),
                number_text(float(run.curve.cpu_seconds[-1]), 0),
                run.summary.get("config_hash", ""),
                revision_text(versions.get("git_commit", "")),
            )
        )
    titles = ("game", "method", "seed", "return", "episodes", "minutes", "CPU-s")
    return table((*titles, "config", "revision"), rows)

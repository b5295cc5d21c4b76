"""The page's part on games against fixed opponents: final matches, and shares over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actor.matches.scores import Score
from benchmarks.baselines.curves import LearningCurve, on_common_points
from benchmarks.learning.intervals import CONFIDENCE, Interval, mean_band, mean_interval
from benchmarks.learning.results import Result
from benchmarks.pages.markdown import FRACTIONS, cells_at_fractions, interval_text, table
from benchmarks.pages.matches import Match, last_matches, share_curves

_NAMES = {"prior": "network without search", "random": "random play"}


def opponents_parts(tasks: Mapping[str, Mapping[str, Sequence[Result]]], points: str) -> list[str]:
    """Return the parts of a page; none where every game has one player.

    Args:
        tasks: environment -> arm -> results by seed.
        points: name of the CSV of all matches, in the page's folder.
    """
    played = {
        (env_id, arm): results
        for env_id, arms in tasks.items()
        for arm, results in arms.items()
        if any(result.matches for result in results)
    }
    if not played:
        return []
    parts = [
        "## Games against fixed opponents",
        "Of the final evaluations, half of them with the first move. Share: (won + drawn / 2) / "
        f"games. Intervals of {CONFIDENCE:.0%}: of one seed over its games (Wilson's; with draws a "
        "bootstrap), of all seeds over the seeds' shares as in the other tables. In the tables of "
        "returns a game of two players counts against the first opponent alone: 1 won, -1 lost. "
        f"Every evaluation: [{points}]({points}).",
    ]
    for (env_id, arm), results in played.items():
        title = env_id if len(tasks[env_id]) == 1 else f"{env_id}, {arm}"
        parts += [f"### {title}", _matches_table(results)]
    return [
        *parts,
        "### Share of points over training",
        "Means over seeds of the evaluations, by parts of the env_steps; the last is the final "
        "evaluation.",
        _shares_table(played),
    ]


def curves_by_opponent(results: Sequence[Result]) -> dict[str, list[LearningCurve]]:
    """Return the seeds' shares of points against each opponent, over env_steps."""
    found: dict[str, list[LearningCurve]] = {}
    for result in results:
        config = result.config
        curves = share_curves(config.env.id, config.seed, result.matches)
        for opponent, curve in curves.items():
            found.setdefault(opponent, []).append(curve)
    return found


def final_matches(results: Sequence[Result]) -> dict[str, dict[int, Match]]:
    """Return opponent -> seed -> the match of the final evaluation."""
    found: dict[str, dict[int, Match]] = {}
    for result in results:
        for opponent, match in last_matches(result.matches).items():
            found.setdefault(opponent, {})[result.config.seed] = match
    return found


def _matches_table(results: Sequence[Result]) -> str:
    rows = []
    for opponent, by_seed in final_matches(results).items():
        for seed, match in by_seed.items():
            rows.append((opponent, f"seed {seed}", *_match_cells([match], _over_games(match))))
        if len(by_seed) > 1:
            shares = mean_interval([match.score.share for match in by_seed.values()])
            rows.append((opponent, "all seeds", *_match_cells([*by_seed.values()], shares)))
        for policy, name in _NAMES.items():
            others = [result.alone_matches.get(policy, {}).get(opponent) for result in results]
            known = [match for match in others if match is not None]
            if known:
                shares = mean_interval([match.score.share for match in known])
                seeds = " ".join(
                    str(result.config.seed)
                    for result, match in zip(results, others, strict=True)
                    if match is not None
                )
                rows.append((opponent, f"{name}, seeds {seeds}", *_match_cells(known, shares)))
    counts = ("games", "won", "drawn", "lost", "share of points")
    return table(("opponent", "player", *counts, "with the first move", "second"), rows)


def _match_cells(matches: Sequence[Match], share: Interval) -> tuple[object, ...]:
    score = sum((match.score for match in matches), Score())
    by_seat = [sum((match.by_seat[seat] for match in matches), Score()) for seat in (0, 1)]
    counts = (score.games, score.wins, score.draws, score.losses, interval_text(share))
    return (*counts, *(f"{one.wins} / {one.draws} / {one.losses}" for one in by_seat))


def _over_games(match: Match) -> Interval:
    low, high = match.score.interval()
    return Interval(mean=match.score.share, low=low, high=high, n=1)


def _shares_table(played: Mapping[tuple[str, str], Sequence[Result]]) -> str:
    rows = []
    for (env_id, arm), results in played.items():
        for opponent, curves in curves_by_opponent(results).items():
            points, shares = on_common_points([(c.env_steps, c.returns) for c in curves])
            budget = results[0].config.budget.env_steps
            band = (points, *mean_band(shares))
            rows.append((env_id, arm, opponent, *cells_at_fractions(band, budget, n=len(curves))))
    return table(("task", "arm", "opponent", *(f"at {f:.4g}" for f in FRACTIONS)), rows)

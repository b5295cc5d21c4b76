"""Games against fixed opponents, which the evaluations of a game of two players play."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actor.matches.scores import Score
from benchmarks.baselines.curves import LearningCurve
from efficientzero.runs.results.run_summary import EVALUATIONS_FILE
from efficientzero.runs.run_folder import RunInfo, read_lines

_SEATS = (0, 1)
_COLUMNS = ("env", "arm", "seed", "env_steps", "opponent", "seat", "wins", "draws", "losses")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The games of one evaluation against one opponent."""

    env_steps: int
    opponent: str
    """Of ``league.baselines``."""
    by_seat: tuple[Score, Score]
    """0: the network moved first."""

    @property
    def score(self) -> Score:
        """In both seats."""
        return self.by_seat[0] + self.by_seat[1]


def read_matches(directory: Path) -> tuple[Match, ...]:
    """Return the matches of a run's evaluations, by env_steps, those of the final one last.

    Of several evaluations at one number of env_steps the last counts. Empty with one player.

    Raises:
        OSError, KeyError, TypeError, ValueError: the file cannot be read, or is damaged.
    """
    lines = read_lines(directory / EVALUATIONS_FILE)
    lines.sort(key=lambda line: (bool(line["is_final"]), line["env_steps"]))
    found: dict[tuple[int, str], Match] = {}
    for line in lines:
        for match in matches_of(line.get("scores", ()), int(line["env_steps"])):
            found.pop((match.env_steps, match.opponent), None)
            found[match.env_steps, match.opponent] = match
    return tuple(found.values())


def matches_of(scores: Iterable[dict[str, Any]], env_steps: int) -> list[Match]:
    """Return the matches of one evaluation.

    Args:
        scores: name, seat, wins, draws and losses of each opponent in each seat.
        env_steps: of the evaluation.

    Raises:
        KeyError, TypeError, ValueError: something else.
    """
    seats: dict[str, dict[int, Score]] = {}
    for said in scores:
        counts = {kind: int(said[kind]) for kind in ("wins", "draws", "losses")}
        seats.setdefault(said["name"], {})[int(said["seat"])] = Score(**counts)
    return [
        Match(env_steps=env_steps, opponent=name, by_seat=(by_seat[0], by_seat[1]))
        for name, by_seat in seats.items()
    ]


def last_matches(matches: Sequence[Match]) -> dict[str, Match]:
    """Return the last match against each opponent, in the order of the opponents."""
    return {match.opponent: match for match in matches}


def share_curves(env_id: str, seed: int, matches: Sequence[Match]) -> dict[str, LearningCurve]:
    """Return the share of points against each opponent as a curve over env_steps."""
    curves = {}
    for opponent in last_matches(matches):
        own = [match for match in matches if match.opponent == opponent]
        curves[opponent] = LearningCurve(
            env_id=env_id,
            algorithm=opponent,
            seed=seed,
            env_steps=np.array([match.env_steps for match in own], np.float64),
            returns=np.array([match.score.share for match in own], np.float64),
            cpu_seconds=np.full(len(own), np.nan),
        )
    return curves


def write_matches(path: Path, runs: Iterable[tuple[RunInfo, str, Sequence[Match]]]) -> None:
    """Write a row for each seat of each match to a CSV.

    Args:
        path: the file.
        runs: a run, its arm and its matches.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for run, arm, matches in runs:
            which = (run.config.env.id, arm, run.config.seed)
            for match in matches:
                for seat in _SEATS:
                    score = match.by_seat[seat]
                    counts = (score.wins, score.draws, score.losses)
                    writer.writerow([*which, match.env_steps, match.opponent, seat, *counts])

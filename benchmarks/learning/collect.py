"""The runs of a page: the finished cells of a grid, or run folders, and the missing ones."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.learning.results import ALONE, Result, by_task, read_result
from benchmarks.pages.arms import arm_names, read_cells
from benchmarks.pages.matches import Match, last_matches, matches_of
from benchmarks.pages.played_games import play_once
from deploy.ablate.check import CheckedCell, check_cells, identity_of, read_summary
from deploy.ablate.grid import Cell
from efficientzero.process.runtime import StopSignal
from efficientzero.runs.results.run_summary import counts_on_disk
from efficientzero.runs.run_folder import RunInfo

AGENT = "EfficientZero"
"""The name of a single arm."""


def find_runs(
    grids: Sequence[Path], runs_dir: Path, overrides: Sequence[str]
) -> tuple[list[Path], list[str]]:
    """Return the folders of grids' finished cells, and a line for each other cell.

    A run of several grids is there once.

    Raises:
        ValueError: a grid makes no sense.
    """
    found: dict[Path, None] = {}
    missing: dict[str, None] = {}
    for grid in grids:
        finished, absent = find_cells(grid, runs_dir, overrides)
        found |= dict.fromkeys(folder for _, folder in finished)
        missing |= dict.fromkeys(absent)
    return [*found], [*missing]


def find_cells(
    grid: Path, runs_dir: Path, overrides: Sequence[str] = ()
) -> tuple[list[tuple[Cell, Path]], list[str]]:
    """Return a grid's finished cells, arm by arm, with their folders, and a line for each other.

    Raises:
        ValueError: the grid makes no sense.
    """
    cells = sorted(read_cells(grid, overrides), key=lambda cell: cell.index)
    checked_cells = check_cells(cells, runs_dir).cells
    return (
        [(one.cell, one.finished) for one in checked_cells if one.finished is not None],
        [
            f"{one.cell.label}: {_why_missing(one, runs_dir)}"
            for one in checked_cells
            if one.finished is None
        ],
    )


def read_results(folders: Sequence[Path]) -> tuple[list[Result], list[str]]:
    """Read run folders, and name their arms.

    Returns:
        Results, and a line for each folder that has none.

    Raises:
        ValueError: a seed of an arm is given twice.
    """
    of_tasks: dict[str, list[Result]] = defaultdict(list)
    missing = []
    for folder in folders:
        try:
            result = read_result(folder)
            of_tasks[result.config.env.id].append(result)
        except ValueError as error:
            missing.append(f"{folder}: {error}")
    named = []
    for results in of_tasks.values():
        names = arm_names([result.config for result in results], AGENT)
        named += [replace(r, arm=name) for r, name in zip(results, names, strict=True)]
    for env_id, arms in by_task(named).items():
        for arm, seeds in arms.items():
            given = [result.config.seed for result in seeds]
            if len(set(given)) < len(given):
                raise ValueError(f"{env_id} {arm}: got seeds {given}, wanted each once")
    return named, missing


def play_alone(results: Sequence[Result], stop: StopSignal) -> list[Result] | None:
    """Add the returns without search to each environment's first arm; None if stopped.

    Raises:
        ValueError: a run cannot be played.
    """
    first = {env_id: next(iter(arms)) for env_id, arms in by_task(results).items()}
    played = []
    for result in results:
        alone: dict[str, float] = {}
        matches: dict[str, dict[str, Match]] = {}
        for policy in ALONE if result.arm == first[result.config.env.id] else ():
            games = play_once(result.run, policy, stop=stop)
            if games is None:
                return None
            alone[policy] = float(games["return_mean"])
            scores = matches_of(games.get("scores", ()), result.last.env_steps)
            matches[policy] = last_matches(scores)
        played.append(replace(result, alone=alone, alone_matches=matches))
    return played


def _why_missing(checked: CheckedCell, runs_dir: Path) -> str:
    """Return how far a cell came."""
    budget = checked.cell.config.budget.env_steps
    if checked.stopped is not None:
        made = counts_on_disk(checked.stopped).env_steps
        return f"not finished, {made:,} of {budget:,} env_steps ({checked.stopped.directory.name})"
    for path in sorted(runs_dir.glob("*/config.json")):
        with contextlib.suppress(OSError, ValueError):  # another user's, or another version's
            if identity_of(RunInfo.load(path)) == checked.identity:
                reason = read_summary(path.parent).get("exit_reason", "no checkpoint yet")
                return f"not finished, {reason} ({path.parent.name})"
    return "not run"

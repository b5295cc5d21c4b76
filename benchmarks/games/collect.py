"""What there is of a grid's cells and of the baselines on its games, and what is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baselines.command import read_training, training_path
from benchmarks.baselines.curves import LearningCurve
from benchmarks.curves import read_run
from benchmarks.grid_cells import method_of
from benchmarks.run_cost import training_cpu_seconds
from deploy.ablate.check import CheckedCell, check_cells, identity_of, read_summary
from deploy.ablate.grid import Cell
from efficientzero.config import Config
from efficientzero.runs.results.run_summary import counts_on_disk
from efficientzero.runs.run_folder import RunInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A finished cell, as the page lists it."""

    curve: LearningCurve
    directory: Path
    num_episodes: int
    """Of the final evaluation."""
    summary: dict[str, Any]


@dataclass(slots=True)
class Collection:
    """All that was found."""

    runs: list[FinishedRun] = field(default_factory=list)
    baselines: list[LearningCurve] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """One line for each training that has no result."""

    @property
    def curves(self) -> list[LearningCurve]:
        """Return those of the agent, then those of the baselines."""
        return [*(run.curve for run in self.runs), *self.baselines]


def collect(
    cells: Sequence[Cell], *, runs_dir: Path, baselines: Path, algorithms: Sequence[str]
) -> Collection:
    """Look for every cell's run and every baseline on its game and seed.

    Args:
        cells: of the grid.
        runs_dir: where run folders lie.
        baselines: where ``python -m benchmarks baselines --out`` wrote.
        algorithms: the baselines.

    Raises:
        ValueError: a cell that cannot run.
    """
    found = Collection()
    for checked in check_cells(cells, runs_dir).cells:
        config = checked.cell.config
        which = f"{config.env.id} {method_of(checked.cell)} seed {config.seed}"
        if checked.finished is None:
            found.missing.append(f"{which}: {_why_missing(checked, runs_dir)}")
            continue
        try:
            found.runs.append(_read(checked.cell, checked.finished))
        except ValueError as error:
            found.missing.append(f"{which}: {error}")
    games: dict[tuple[str, int], Config] = {}
    for cell in cells:
        games.setdefault((cell.config.env.id, cell.config.seed), cell.config)
    for config in games.values():
        for algorithm in algorithms:
            path = training_path(baselines, config, algorithm)
            which = f"{config.env.id} {algorithm} seed {config.seed}"
            if not path.exists():
                found.missing.append(f"{which}: not run")
                continue
            try:
                found.baselines.append(read_training(path))
            except ValueError as error:
                found.missing.append(f"{which}: {error}")
    return found


def _read(cell: Cell, directory: Path) -> FinishedRun:
    run, summary = read_run(directory), read_summary(directory)
    if not run.last.is_final:
        raise ValueError(f"{directory} has no final evaluation")
    evaluations = [e for e in run.evaluations if not e.is_final or e is run.last]
    cost = training_cpu_seconds(directory, summary, [e.train_steps for e in evaluations])
    curve = LearningCurve(
        env_id=cell.config.env.id,
        algorithm=method_of(cell),
        seed=cell.config.seed,
        env_steps=np.array([e.env_steps for e in evaluations], np.float64),
        returns=np.array([e.mean for e in evaluations], np.float64),
        cpu_seconds=cost,
    )
    return FinishedRun(
        curve=curve, directory=directory, num_episodes=len(run.last.returns), summary=summary
    )


def _why_missing(checked: CheckedCell, runs_dir: Path) -> str:
    """Say how far a cell came."""
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

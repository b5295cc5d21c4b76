"""The command ``learning``: plan, run what is missing, play the baselines, draw and write."""

from __future__ import annotations

import json
import shlex
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.baselines.curves import LearningCurve, read_curves, write_curves
from benchmarks.learning.cell_runner import Outcome, finished_runs, run_cells
from benchmarks.learning.cells import (
    FULL,
    TASKS_BY_DEFAULT,
    VARIANTS,
    Cell,
    TaskName,
    VariantName,
    make_plan,
)
from benchmarks.learning.page import make_page
from benchmarks.learning.picture import draw
from benchmarks.learning.results import Result, play_baselines, read_result
from efficientzero.runtime import StopSignal, install_stop_handlers

_DPI = 100
_STOP_GRACE_S = 150.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCommand:
    """Train small tasks through launch.py; compare with play without search and random play.

    Runs that have finished with the same config and seed are not run again: an interrupted bench
    goes on where it was. benchmarks/README.md says more.
    """

    tasks: tuple[TaskName, ...] = TASKS_BY_DEFAULT
    """Presets to train."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run per task, variant and seed."""
    variants: tuple[VariantName, ...] = VARIANTS
    """Parts to leave out, one at a time. Given without a value: none."""
    variant_task: TaskName = "minatar"
    """Where to leave them out."""
    jobs: int = 1
    """Runs at a time; each keeps two cores busy. 0: run nothing, report what is finished."""
    runs_dir: Path = Path("runs/learning")
    """Where run folders lie; runs found there count."""
    out: Path = Path("docs/results/learning/learning.png")
    """The picture; the page gets the same name with .md, all points of all runs with .csv."""
    plain: Path = Path("docs/results/baselines/baselines.csv")
    """Curves of plain DQN and PPO, as `python -m benchmarks baselines` writes them; those of the
    same environments are shown."""
    overrides: tuple[str, ...] = ()
    """Options of launch.py for every run, without their dashes: budget.env-steps=1000."""
    limit_minutes: float = 240.0
    """A run that takes longer is stopped and counts as failed."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the plan and end."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object for each task, seed and variant on stdout."""


def measure_learning(command: LearningCommand, arguments: Sequence[str]) -> int:
    """Do it and return the exit code: 0, 1 if a run failed, 130 or 143 if stopped.

    Args:
        command: what to do.
        arguments: the command line, for the page.

    Raises:
        ValueError: the command makes no sense; nothing has been started.
    """
    _check(command)
    plain = read_curves(command.plain)
    cells = make_plan(
        tasks=command.tasks,
        seeds=command.seeds,
        variants=command.variants,
        variant_task=command.variant_task,
        overrides=command.overrides,
    )
    finished = finished_runs(command.runs_dir.resolve())
    _note("\n".join(plan_lines(cells, finished, jobs=command.jobs)))
    if command.dry_run:
        return 0
    stop = StopSignal()
    install_stop_handlers(stop, exit_grace_s=_STOP_GRACE_S)
    outcomes = _complete(cells, finished, command, stop)
    if stop.is_set():
        _note(f"stopped ({stop.reason}); the same command goes on from here")
        return 143 if stop.reason == "SIGTERM" else 130
    results, missing = _read(outcomes)
    if command.json:
        for result in results:
            print(json.dumps(result.as_json()), flush=True)
    if not any(result.cell.variant == FULL for result in results):
        raise ValueError(
            f"no run of {FULL} has finished, so there is no page: {'; '.join(missing)}"
        )
    _write(results, plain, missing, command, arguments)
    return 1 if missing else 0


def plan_lines(
    cells: Sequence[Cell], finished: dict[tuple[str, int], Path], *, jobs: int
) -> list[str]:
    """Return the plan for a person: seeds to run and finished ones, and the time it will take."""
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.task, cell.variant].append(cell)
    lines = [f"{'task':<13}{'variant':<26}{'finished':<12}{'to run':<12} minutes"]
    for (task, variant), group in groups.items():
        done = [str(cell.seed) for cell in group if cell.key in finished]
        open_cells = [cell for cell in group if cell.key not in finished]
        to_run = " ".join(str(cell.seed) for cell in open_cells)
        minutes = sum(cell.minutes for cell in open_cells)
        lines.append(f"{task:<13}{variant:<26}{' '.join(done):<12}{to_run:<12} {minutes:.0f}")
    pending = [cell for cell in cells if cell.key not in finished]
    hours = sum(cell.minutes for cell in pending) / 60.0
    lines.append(
        f"{len(pending)} of {len(cells)} runs to make, {jobs} at a time: "
        f"about {hours:.1f} h of two idle cores in all"
    )
    return lines


def _check(command: LearningCommand) -> None:
    if command.jobs < 0:
        raise ValueError(f"--jobs: got {command.jobs}, wanted 0 or more")
    if not command.tasks or not command.seeds:
        raise ValueError("--tasks, --seeds: got none, wanted at least one of each")
    if command.out.suffix != ".png":
        raise ValueError(f"--out: got {command.out}, wanted a .png")
    if command.out.with_suffix(".csv").resolve() == command.plain.resolve():
        raise ValueError(f"--out: got {command.out}, whose CSV would replace {command.plain}")
    if command.limit_minutes <= 0:
        raise ValueError(f"--limit-minutes: got {command.limit_minutes}, wanted more than 0")


def _complete(
    cells: Sequence[Cell],
    finished: dict[tuple[str, int], Path],
    command: LearningCommand,
    stop: StopSignal,
) -> list[Outcome]:
    """Return what is known of every cell, in the plan's order, once nothing is left to run."""
    outcomes = {}
    for cell in cells:
        if cell.key not in finished or stop.is_set():
            continue
        directory, problem = finished[cell.key], ""
        try:
            play_baselines(cell, directory)
        except ValueError as error:
            problem = str(error)
        outcomes[cell] = Outcome(cell=cell, directory=directory, problem=problem)
    pending = [cell for cell in cells if cell.key not in finished]
    if command.jobs == 0:
        fresh = [Outcome(cell=cell, directory=None, problem="not run") for cell in pending]
    else:
        fresh = run_cells(
            pending,
            play_baselines,
            runs_dir=command.runs_dir,
            jobs=command.jobs,
            limit_s=command.limit_minutes * 60.0,
            stop=stop,
            note=_note,
        )
    outcomes |= {outcome.cell: outcome for outcome in fresh}
    return [outcomes[cell] for cell in cells if cell in outcomes]


def _read(outcomes: Sequence[Outcome]) -> tuple[list[Result], list[str]]:
    """Return results, and one line for each cell that has none."""
    results, missing = [], []
    for outcome in outcomes:
        cell, problem = outcome.cell, outcome.problem
        if outcome.directory is not None and not problem:
            try:
                results.append(read_result(cell, outcome.directory))
                continue
            except ValueError as error:
                problem = str(error)
        missing.append(f"{cell.task} {cell.variant} seed {cell.seed}: {problem}")
    return results, missing


def _write(
    results: Sequence[Result],
    plain: Sequence[LearningCurve],
    missing: Sequence[str],
    command: LearningCommand,
    arguments: Sequence[str],
) -> None:
    """Write picture and page.

    Raises:
        ValueError: they cannot be written.
    """
    for line in missing:
        _note(f"missing: {line}")
    picture, page = command.out, command.out.with_suffix(".md")
    text = make_page(
        results,
        plain=plain,
        variant_task=command.variant_task,
        picture=picture.name,
        command=shlex.join(("python", "-m", "benchmarks", *arguments)),
        missing=missing,
    )
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        figure = draw(results, plain=plain, variant_task=command.variant_task)
        figure.savefig(picture, dpi=_DPI)
        write_curves(picture.with_suffix(".csv"), [result.learning_curve for result in results])
        page.write_text(text)
    except OSError as error:
        where = error.filename or picture
        raise ValueError(f"--out: cannot write {where} ({error.strerror})") from error
    _note(f"wrote {picture} and {page}")


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

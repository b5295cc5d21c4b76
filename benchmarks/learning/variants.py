"""The command ``variants``: one page of what search, model, losses and targets are worth."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.baselines.curves import LearningCurve, read_curves
from benchmarks.learning.collect import find_cells, play_alone
from benchmarks.learning.results import Result, read_result
from benchmarks.learning.sections import SECTIONS, Section, Study
from benchmarks.learning.variants_page import make_variants_page
from deploy.ablate.grid import ENV, SEED, Cell
from efficientzero.process.runtime import StopSignal, install_stop_handlers

_STOP_GRACE_S = 150.0
_PLAIN = Path("docs/results/baselines/baselines.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsCommand:
    """Write one page of all studies of variants: search, Q, consistency, targets, policies.

    Trains nothing: `launch.py ablate GRID.toml --runs-dir runs/variants` does, one grid of
    benchmarks/grids/variants after the other. What has not finished is listed.
    """

    runs_dir: Path = Path("runs/variants")
    """Where the run folders of all grids lie."""
    plain: tuple[Path, ...] = (_PLAIN,)
    """Curves of plain DQN and PPO, as `python -m benchmarks baselines` writes them; of several
    trainings with one seed the longest counts, up to the agent's env_steps."""
    overrides: tuple[str, ...] = ()
    """Further options of the `launch.py ablate` commands, without dashes: budget.env-steps=1000."""
    out: Annotated[Path, tyro.conf.arg(metavar="PAGE.md")] = Path("docs/results/variants.md")
    """The page."""


def write_variants(command: VariantsCommand, arguments: Sequence[str]) -> int:
    """Do it and return the exit code: 0, 1 if a run is missing, 130 or 143 if stopped.

    Args:
        command: what to do.
        arguments: the command line, for the page.

    Raises:
        ValueError: the command makes no sense, or no run has finished; nothing is written.
    """
    if command.out.suffix != ".md":
        raise ValueError(f"--out: got {command.out}, wanted a .md")
    plain = _longest([curve for path in command.plain for curve in read_curves(path)])
    stop = StopSignal()
    install_stop_handlers(stop, exit_grace_s=_STOP_GRACE_S)
    found, missing = {}, list[str]()
    for section in SECTIONS:
        results, absent = section_results(section, command.runs_dir, command.overrides)
        played = play_alone(results, stop) if section.plays_weights else results
        if played is None:
            _note(f"stopped ({stop.reason}); the same command goes on from here")
            return 143 if stop.reason == "SIGTERM" else 130
        found[section] = played
        missing += [line for line in absent if line not in missing]
    for line in missing:
        _note(f"missing: {line}")
    if not any(found.values()):
        raise ValueError("no run has finished, so there is no page")
    made_by = shlex.join(("python", "-m", "benchmarks", *arguments))
    page = make_variants_page(found, plain=plain, made_by=made_by, missing=missing)
    try:
        command.out.parent.mkdir(parents=True, exist_ok=True)
        command.out.write_text(page)
    except OSError as error:
        raise ValueError(f"--out: cannot write {command.out} ({error.strerror})") from error
    _note(f"wrote {command.out}")
    return 1 if missing else 0


def section_results(
    section: Section, runs_dir: Path, overrides: Sequence[str] = ()
) -> tuple[list[Result], list[str]]:
    """Return the finished runs of a section, named by their arm, and a line for each other cell.

    Raises:
        ValueError: a grid makes no sense.
    """
    results, missing = [], []
    for study in section.studies:
        cells, absent = find_cells(study.grid, runs_dir, overrides)
        missing += [f"{study.grid}: {line}" for line in absent]
        for cell, folder in cells:
            try:
                results.append(replace(read_result(folder), arm=arm_of(study, cell)))
            except ValueError as error:
                missing.append(f"{folder}: {error}")
    return results, missing


def arm_of(study: Study, cell: Cell) -> str:
    """Return the name of a cell's arm: its study's, and the values in which its arms differ."""
    varied = [
        _value_text(axis, value) for axis, value in cell.place.items() if axis not in (ENV, SEED)
    ]
    return " ".join([*([study.name] * bool(study.name)), ", ".join(varied)]).strip(" ,")


def _value_text(axis: str, value: object) -> str:
    if axis == "search.num_simulations":
        return f"search of {value} simulations" if value else "no search"
    return f"{axis.rpartition('.')[2]} {value}"


def _longest(curves: Sequence[LearningCurve]) -> list[LearningCurve]:
    """Return the longest curve of each environment, algorithm and seed."""
    chosen: dict[tuple[str, str, int], LearningCurve] = {}
    for curve in curves:
        which = (curve.env_id, curve.algorithm, curve.seed)
        if which not in chosen or curve.env_steps[-1] > chosen[which].env_steps[-1]:
            chosen[which] = curve
    return list(chosen.values())


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

"""The command ``learning``: the page, picture and CSV of finished runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.baselines.curves import LearningCurve, read_curves, write_curves
from benchmarks.learning.bars import Bar, parse_bar
from benchmarks.learning.collect import find_runs, play_alone, read_results
from benchmarks.learning.page import make_page
from benchmarks.learning.picture import draw
from benchmarks.learning.results import Result
from benchmarks.learning.scores import RANDOM
from benchmarks.pages.arms import read_cells
from benchmarks.pages.matches import write_matches
from efficientzero.config import Config
from efficientzero.process.runtime import StopSignal, install_stop_handlers

_DPI = 100
_STOP_GRACE_S = 150.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCommand:
    """Write the page of grids' finished runs: returns, cost, plain agents, arms in pairs.

    Trains nothing: `launch.py ablate GRID.toml` does. The first arm's networks play once without
    search, which is kept in the run folders. benchmarks/README.md says more.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Grid files of `launch.py ablate`, or run folders. Other arms are compared with the first."""
    runs_dir: Path = Path("runs")
    """Where the cells' run folders lie."""
    overrides: tuple[str, ...] = ()
    """Further options of the `launch.py ablate` command, without dashes: budget.env-steps=1000."""
    plain: Path = Path("docs/results/baselines/baselines.csv")
    """Curves of plain algorithms, as `python -m benchmarks baselines` writes them; those of the
    same environments are shown."""
    reference: str = "dqn"
    """Of several environments: the plain algorithm whose mean return is the score 1; random play's
    is 0."""
    bars: tuple[str, ...] = ()
    """What seeds should reach: Pendulum-v1=-250 of the mean return, or a percentage of games,
    OpenSpiel/tic_tac_toe:minimax:losses=5. With some, the worst seed of every task is shown."""
    out: Annotated[Path, tyro.conf.arg(metavar="PAGE.md")]
    """The page; the picture gets the same name with .png, all points of all runs with .csv, and
    games against fixed opponents with -matches.csv."""


def write_learning(command: LearningCommand, arguments: Sequence[str]) -> int:
    """Do it and return the exit code: 0, 1 if a run is missing, 130 or 143 if stopped.

    Args:
        command: what to do.
        arguments: the command line, for the page.

    Raises:
        ValueError: the command makes no sense, or no run has finished; nothing is written.
    """
    _check(command)
    plain, bars = read_curves(command.plain), [parse_bar(text) for text in command.bars]
    made_by = [shlex.join(("python", "-m", "benchmarks", *arguments))]
    folders, missing = list(command.runs), list[str]()
    if folders[0].suffix == ".toml":
        options = [f"--{option}" for option in command.overrides]
        places = ("--runs-dir", str(command.runs_dir))
        ablate = ("python", "launch.py", "ablate")
        made_by[:0] = [shlex.join((*ablate, str(grid), *options, *places)) for grid in folders]
        folders, missing = find_runs(folders, command.runs_dir, command.overrides)
    results, unread = read_results(folders)
    missing += unread
    for line in missing:
        _note(f"missing: {line}")
    if not results:
        raise ValueError("no run has finished, so there is no page")
    stop = StopSignal()
    install_stop_handlers(stop, exit_grace_s=_STOP_GRACE_S)
    played = play_alone(results, stop)
    if played is None:
        _note(f"stopped ({stop.reason}); the same command goes on from here")
        return 143 if stop.reason == "SIGTERM" else 130
    _write(played, plain, missing, command, bars=bars, made_by=made_by)
    return 1 if missing else 0


def _check(command: LearningCommand) -> None:
    grids = [path for path in command.runs if path.suffix == ".toml"]
    if not command.runs or len(grids) not in (0, len(command.runs)):
        got = f"{len(command.runs)} with {len(grids)} grid files"
        raise ValueError(f"runs: got {got}, wanted grid files, or run folders")
    if command.overrides and not grids:
        raise ValueError("--overrides: got some without a grid file, wanted run folders alone")
    if command.out.suffix != ".md":
        raise ValueError(f"--out: got {command.out}, wanted a .md")
    if command.out.with_suffix(".csv").resolve() == command.plain.resolve():
        raise ValueError(f"--out: got {command.out}, whose CSV would replace {command.plain}")
    if command.reference == RANDOM:
        raise ValueError(f"--reference: got {RANDOM}, wanted another one: it is 0 already")


def _write(
    results: Sequence[Result],
    plain: Sequence[LearningCurve],
    missing: Sequence[str],
    command: LearningCommand,
    *,
    bars: Sequence[Bar],
    made_by: Sequence[str],
) -> None:
    """Write page, picture and CSV.

    Raises:
        ValueError: they cannot be written.
    """
    picture, points = command.out.with_suffix(".png"), command.out.with_suffix(".csv")
    matches = command.out.with_name(f"{command.out.stem}-matches.csv")
    written = [command.out, picture, points]
    text = make_page(
        results,
        plain=plain,
        absent=_absent(command, {result.config.env.id for result in results}),
        reference=command.reference,
        bars=bars,
        files=(picture.name, points.name, matches.name),
        made_by=made_by,
        missing=missing,
    )
    try:
        command.out.parent.mkdir(parents=True, exist_ok=True)
        draw(results, plain=plain).savefig(picture, dpi=_DPI)
        write_curves(points, [result.learning_curve for result in results])
        if any(result.matches for result in results):
            write_matches(matches, [(r.run, r.arm, r.matches) for r in results])
            written.append(matches)
        command.out.write_text(text)
    except OSError as error:
        where = error.filename or command.out
        raise ValueError(f"--out: cannot write {where} ({error.strerror})") from error
    _note(f"wrote {', '.join(map(str, written))}")


def _absent(command: LearningCommand, played: Collection[str]) -> list[Config]:
    """Return a config for each of the grids' environments of which no run has finished."""
    grids = [path for path in command.runs if path.suffix == ".toml"]
    configs = [cell.config for grid in grids for cell in read_cells(grid, command.overrides)]
    return [*{c.env.id: c for c in configs if c.env.id not in played}.values()]


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

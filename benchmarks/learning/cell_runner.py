"""Running cells: one ``launch.py --local`` each, some at a time; what is finished is not run again.

Knows run folders and exit codes, not what the runs are for. A run that ended early is left where it
is, and its cell starts again in a folder of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor  # noqa: TID251  map raises what a job raised
from dataclasses import dataclass
from pathlib import Path

from benchmarks.learning.cells import Cell
from efficientzero.config import (
    config_from_dict,
    config_hash,
)
from efficientzero.process.runtime import StopSignal

CHECKOUT = Path(__file__).resolve().parents[2]
_ENDING_S = 90.0
"""A run that is asked to stop saves first; the supervisor's own patience is shorter."""

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a cell."""

    cell: Cell
    directory: Path | None  # of the finished run; None: it failed, or was stopped
    problem: str = ""  # one line


def finished_runs(runs_dir: Path) -> dict[tuple[str, int], Path]:
    """Return the folders of runs at budget by config hash and seed; of several the newest.

    The hash is that of this version of the software: a field that was added since has its default.
    """
    found: dict[tuple[str, int], Path] = {}
    summaries = sorted(runs_dir.glob("*/summary.json"), key=lambda path: path.stat().st_mtime)
    for path in summaries:
        try:
            summary = json.loads(path.read_text())
            values = json.loads((path.parent / "config.json").read_text())
            if summary.get("exit_code") == 0 and summary.get("eval_is_final"):
                config = config_from_dict(values["config"])
                if values.get("lineage") is None:  # began with nothing of another run's
                    found[config_hash(config), config.seed] = path.parent
        except (OSError, KeyError, TypeError, ValueError) as error:
            # Cut short, or of a version with other fields: said, for its cell is trained again.
            reason = f"{type(error).__name__}: {error}"
            print(f"{path.parent}: left out ({reason})", file=sys.stderr)
            continue
    return found


def run_cells(
    cells: Sequence[Cell],
    after: Callable[[Cell, Path], None],
    *,
    runs_dir: Path,
    jobs: int,
    limit_s: float,
    stop: StopSignal,
    note: Note,
) -> list[Outcome]:
    """Run the cells and return what became of each, in their order.

    Args:
        cells: what to run.
        after: called in the job's thread with each cell that has finished, and its folder; a
            ValueError makes the cell fail.
        runs_dir: where the run folders and the runs' outputs go.
        jobs: runs at a time.
        limit_s: a run that takes longer is stopped and has failed.
        stop: ends running cells in order; the others are not started.
        note: takes lines for a person.
    """
    runs_dir.mkdir(parents=True, exist_ok=True)

    def job(numbered: tuple[int, Cell]) -> Outcome:
        number, cell = numbered
        where = f"[{number}/{len(cells)}] {cell.task} {cell.variant} seed {cell.seed}"
        if stop.is_set():
            return Outcome(cell=cell, directory=None, problem="not started")
        started = time.monotonic()
        directory = _free_folder(runs_dir, cell.name)
        log = directory.with_suffix(".log")
        note(f"{where}: started, output in {log}")
        outcome = _run(cell, directory, log=log, limit_s=limit_s, stop=stop)
        if outcome.directory is not None:
            try:
                after(cell, outcome.directory)
            except ValueError as error:
                outcome = Outcome(cell=cell, directory=None, problem=str(error))
        result = outcome.problem or "finished"
        note(f"{where}: {result} after {(time.monotonic() - started) / 60:.1f} min")
        return outcome

    with ThreadPoolExecutor(jobs, "cell") as executor:
        return list(executor.map(job, enumerate(cells, start=1)))


def _free_folder(runs_dir: Path, name: str) -> Path:
    """Return a folder that no earlier attempt at the cell has used; jobs never share a name."""
    folder, number = runs_dir.resolve() / name, 1
    while folder.exists() or folder.with_suffix(".log").exists():
        number += 1
        folder = folder.with_name(f"{name}-{number}")
    return folder


def _run(cell: Cell, directory: Path, *, log: Path, limit_s: float, stop: StopSignal) -> Outcome:
    places = (f"--runs-dir={directory.parent}", f"--run-id={directory.name}")
    command = [sys.executable, "launch.py", "--local", *cell.arguments, *places]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C reaches it through ``stop`` only, once
        )
        try:
            problem = _wait(process, limit_s, stop)
        finally:
            _end(process)
    if not problem and process.returncode != 0:
        problem = f"failed with exit code {process.returncode}: {_last_line(log)}"
    return Outcome(cell=cell, directory=None if problem else directory, problem=problem)


def _wait(process: subprocess.Popen[bytes], limit_s: float, stop: StopSignal) -> str:
    """Wait for the process's end; return why it should be ended sooner, if it should."""
    deadline = time.monotonic() + limit_s
    while process.poll() is None:
        if stop.wait(0.2):
            return f"stopped ({stop.reason})"
        if time.monotonic() > deadline:
            return f"failed: still running after {limit_s / 60:.0f} min"
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "no output").strip()

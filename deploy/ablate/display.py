"""What a person sees of a grid: the plan, the running cells, the table at the end.

On a terminal a block under the notes; elsewhere a plain line now and then.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deploy.ablate.check import CheckedCell, CheckedGrid
from deploy.ablate.grid import ENV, SEED
from deploy.ablate.runner import CellRun
from deploy.launching.groups import is_used
from deploy.results import format_duration
from deploy.supervising import LiveBlock
from efficientzero.config import experiment_values

_PLAIN_INTERVAL_S = 30.0
_PLAIN_WIDTH = 200
_CLOSED_TERMINAL = contextlib.suppress(OSError, SystemExit)  # rich exits at a broken pipe
_STYLES = {"finished": "green", "failed": "bold red", "interrupted": "yellow", "running": "cyan"}


class GridConsole:
    """The terminal of ``ablate``; a closed one is survived. A context manager, for one thread."""

    def __init__(self, stream: TextIO) -> None:
        self._console = make_console(stream)
        self._live = LiveBlock(self._console) if stream.isatty() else None
        self._next_plain_s = time.monotonic() + _PLAIN_INTERVAL_S

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            with _CLOSED_TERMINAL:
                self._live.stop()

    def note(self, text: str) -> None:
        """Print one line."""
        line = Text(f"ablate | {text}")
        with _CLOSED_TERMINAL:
            if self._live is not None:
                self._live.print(line)
            else:
                self._console.print(line, soft_wrap=True)

    def show(self, runs: Sequence[CellRun]) -> None:
        """Show how far all cells are."""
        now_s = time.monotonic()
        if self._live is not None:
            with _CLOSED_TERMINAL:
                self._live.update(progress_block(runs))
        elif now_s >= self._next_plain_s:
            self._next_plain_s = now_s + _PLAIN_INTERVAL_S
            self.note(progress_line(runs))


def make_console(stream: TextIO) -> Console:
    """Return a console that neither colours nor cuts what goes to a file."""
    width = None if stream.isatty() else _PLAIN_WIDTH
    return Console(file=stream, highlight=False, width=width)


def progress_line(runs: Sequence[CellRun]) -> str:
    """Return the counts, and the share done of each running cell, in one line."""
    running = [
        f"{run.checked.cell.label} {_share(run):.0%}" for run in runs if run.state == "running"
    ]
    return "; ".join([_counts(runs), *running])


def progress_block(runs: Sequence[CellRun]) -> RenderableType:
    """Return a bar for each running cell under a line of counts."""
    bars = Table.grid(padding=(0, 1))
    for run in runs:
        if run.state == "running":
            bar = ProgressBar(total=1.0, completed=_share(run), width=30)
            share, wall = f"{_share(run):.0%}", format_duration(run.wall_s)
            bars.add_row(Text(run.checked.cell.label), bar, share, _steps(run), wall)
    return Group(Text(_counts(runs), style="bold"), bars)


def plan_table(checked: CheckedGrid) -> Table:
    """Return the plan: each cell, its group, and what it changes."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("cell", "where", "group", "seed", "overrides", "state"):
        table.add_column(heading, overflow="fold")
    for cell in checked.cells:
        table.add_row(
            str(cell.cell.index),
            Text(cell.cell.label),
            Text(cell.group),
            str(cell.cell.config.seed),
            Text(overrides_text(cell)),
            _plan(cell),
        )
    return table


def same_lines(labels: Mapping[int, str], same: Mapping[int, int]) -> list[str]:
    """Say which cells were left out because another is the same experiment."""
    return [
        f"left out  {labels[index]}: the same experiment as {labels[other]}"
        for index, other in same.items()
    ]


def unread_lines(checked: CheckedGrid) -> list[str]:
    """Say which cells change only what their agents never read: another name for the same agent."""
    lines = []
    for cell in checked.cells:
        fields = [key for key in cell.cell.overrides if key not in (ENV, SEED)]
        values = experiment_values(cell.cell.config)
        if fields and not any(is_used(key, values) for key in fields):
            lines.append(
                f"note      {cell.cell.label}: its agent does not read {', '.join(fields)}"
            )
    return lines


def overrides_text(checked: CheckedCell) -> str:
    """Return what the cell changes besides environment and seed."""
    items = checked.cell.overrides.items()
    return " ".join(f"{k}={_value(v)}" for k, v in items if k not in (ENV, SEED)) or "-"


def results_table(runs: Sequence[CellRun]) -> Table:
    """Return what became of each cell."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("cell", "state", "return", "minutes", "run"):
        table.add_column(heading, overflow="fold")
    for run in runs:
        value = run.eval_return
        minutes = f"{run.wall_s / 60:.1f}" if run.wall_s else "-"
        table.add_row(
            Text(run.checked.cell.label),
            Text(run.state, _STYLES.get(run.state, "")),
            "-" if value is None else f"{value:.4g}",
            minutes,
            Text(_name(run.run_dir)),
        )
    return table


def _plan(checked: CheckedCell) -> str:
    if checked.finished is not None:
        return f"finished: {checked.finished}"
    return f"to resume: {checked.stopped.directory}" if checked.stopped else "to run"


def _counts(runs: Sequence[CellRun]) -> str:
    counts = Counter(run.state for run in runs)
    return f"{len(runs)} cells: " + ", ".join(f"{n} {state}" for state, n in counts.items())


def _share(run: CellRun) -> float:
    """Return the share of the cell's budgets that is spent; env_steps and train_steps alike."""
    if run.status is None:
        return 0.0
    done = run.status.env_steps + run.status.train_steps
    return done / max(1, run.status.env_steps_budget + run.status.train_steps_budget)


def _steps(run: CellRun) -> str:
    if run.status is None:
        return "starting"
    return f"{run.status.env_steps:,} env_steps, {run.status.train_steps:,} train_steps"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "+".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)


def _name(run_dir: Path | None) -> str:
    return "-" if run_dir is None else run_dir.name

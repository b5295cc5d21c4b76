"""What a person sees during a run: the roles' lines, the launcher's notes, the progress.

Called by the launcher, the readers of the children and the monitor, each from its own thread. On a
terminal the progress is a block below the lines; elsewhere it is a plain line now and then. Knows
the run's status message, no process and no file.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from efficientzero.rpc import run_pb2

_PLAIN_INTERVAL_S = 15.0
_RATE_WINDOW_S = 60.0
_NAME_WIDTH = 13  # reanalyzer-00
_COLOURS = {
    "replay": "magenta",
    "learner": "green",
    "reanalyzer": "yellow",
    "actor": "cyan",
    "evaluator": "blue",
    "launcher": "bold",
}
_NEVER_REACHED = "starting: the learner does not answer yet"


class Pace(NamedTuple):
    """How fast the run goes."""

    env_steps_per_s: float
    train_steps_per_s: float
    eta_s: float | None  # None while it cannot be known


class PaceMeter:
    """Derives the pace from successive counters, over a sliding window."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int, int]] = deque()

    def update(self, now_s: float, status: run_pb2.RunStatus) -> Pace:
        """Take the counters read at ``now_s`` and return the pace of the last minute."""
        self._points.append((now_s, status.env_steps, status.train_steps))
        while now_s - self._points[0][0] > _RATE_WINDOW_S:
            self._points.popleft()
        then_s, env_steps, train_steps = self._points[0]
        elapsed_s = max(now_s - then_s, 1e-9)
        env_rate = (status.env_steps - env_steps) / elapsed_s
        train_rate = (status.train_steps - train_steps) / elapsed_s
        left = max(0, status.train_steps_budget - status.train_steps)
        eta_s = 0.0 if left == 0 else left / train_rate if train_rate > 0 else None
        return Pace(env_rate, train_rate, eta_s)


def facts(status: run_pb2.RunStatus, pace: Pace) -> dict[str, str]:
    """Return the progress beside the two counters, in words."""
    shown = {"phase": run_pb2.Phase.Name(status.phase).lower(), "eta": format_duration(pace.eta_s)}
    shown["replay"] = f"{status.replay_items:,} items"
    if status.last_returns:
        mean = math.fsum(status.last_returns) / len(status.last_returns)
        shown["return"] = f"{mean:.4g} (mean of last {len(status.last_returns)} episodes)"
    if status.last_eval_version and not math.isnan(status.last_eval_return_mean):
        version = status.last_eval_version
        shown["evaluation"] = f"{status.last_eval_return_mean:.4g} at train_step {version:,}"
    if status.cause:
        shown["stalled"] = status.cause
    elif status.phase == run_pb2.FINISHED and not status.final_evaluation_received:
        shown["waiting for"] = status.waiting_for or "the final evaluation"
    elif status.waiting_for:
        shown["waiting for"] = status.waiting_for
    return shown


def progress_line(status: run_pb2.RunStatus, pace: Pace) -> str:
    """Return everything in one plain line."""
    counters = [
        f"{name} {count:,}/{budget:,} ({rate:.3g}/s)"
        for name, count, budget, rate in _counters(status, pace)
    ]
    return "  ".join(
        [*counters, *(f"{name} {value}" for name, value in facts(status, pace).items())]
    )


def progress_block(status: run_pb2.RunStatus, pace: Pace) -> RenderableType:
    """Return two bars and a line of facts, for a terminal."""
    bars = Table.grid(padding=(0, 1))
    for name, count, budget, rate in _counters(status, pace):
        bar = ProgressBar(total=max(1, budget), completed=count, width=40)
        bars.add_row(name, bar, f"{count:,}/{budget:,}", f"{rate:.3g}/s")
    line = Text()
    for name, value in facts(status, pace).items():
        line.append(f"{name} ", style="dim").append(f"{value}  ")
    return Group(bars, line)


def _counters(
    status: run_pb2.RunStatus, pace: Pace
) -> tuple[tuple[str, int, int, float], tuple[str, int, int, float]]:
    return (
        ("env_steps", status.env_steps, status.env_steps_budget, pace.env_steps_per_s),
        ("train_steps", status.train_steps, status.train_steps_budget, pace.train_steps_per_s),
    )


def format_duration(seconds: float | None) -> str:
    """Return hours:minutes:seconds, or a dash when unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class RunConsole:
    """The launcher's terminal. Safe to call from any thread; a closed terminal is survived."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._is_broken = False
        self._meter = PaceMeter()
        self._next_plain_s = 0.0
        self._live: Live | None = None
        if stream.isatty():
            console = Console(file=stream, highlight=False, soft_wrap=True)
            self._live = Live(Text("starting"), console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        live, self._live = self._live, None
        if live is not None:
            self._guard(live.stop)

    def line(self, name: str, text: str) -> None:
        """Print one line that the process ``name`` printed."""
        prefix = f"{name:<{_NAME_WIDTH}}| "
        live = self._live
        if live is None:
            self._guard(lambda: self._write(prefix + text))
            return
        colour = _COLOURS.get(name.rsplit("-", 1)[0], "")
        styled = Text().append(prefix, style=colour).append_text(_unstyled(text))
        self._guard(lambda: live.console.print(styled))

    def note(self, text: str) -> None:
        """Print one line of the launcher's own."""
        self.line("launcher", text)

    def show(self, status: run_pb2.RunStatus | None, silent_s: float) -> None:
        """Show the progress.

        Args:
            status: the newest known; None before the learner first answered.
            silent_s: since when the learner has not answered, seconds; 0 if it just has.
        """
        now_s = time.monotonic()
        line, block = _NEVER_REACHED, Group(_NEVER_REACHED)
        if status is not None:
            pace = self._meter.update(now_s, status)
            late = f"  (the learner has not answered for {silent_s:.0f} s)" * (silent_s > 0)
            line = progress_line(status, pace) + late
            block = Group(progress_block(status, pace), late)
        live = self._live
        if live is not None:
            self._guard(lambda: live.update(block, refresh=True))
        elif now_s >= self._next_plain_s:
            self._next_plain_s = now_s + _PLAIN_INTERVAL_S
            self.note(line)

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

    def _guard(self, write: Callable[[], None]) -> None:
        """Run ``write`` unless the terminal is gone: its readers must go on for the log files."""
        with self._lock:
            if self._is_broken:
                return
            try:
                write()
            except (OSError, SystemExit):  # rich turns a broken pipe into SystemExit
                self._is_broken = True


class NoteHandler(logging.Handler):
    """Sends the launcher's own log records to its console."""

    def __init__(self, console: RunConsole) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record's message."""
        self._console.note(record.getMessage())


def _unstyled(text: str) -> Text:
    """Return a foreign line as it is: no markup, no colour of its own that could run on."""
    return Text(Text.from_ansi(text).plain)

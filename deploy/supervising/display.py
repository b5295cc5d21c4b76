"""The terminal output of a run: the roles' lines, the launcher's notes, the progress.

Called by the launcher, the readers of the children and the monitor, each from its own thread. On a
terminal the progress is a block below the lines; elsewhere it is a plain line now and then. Knows
the run's status message, no process and no file.
"""

from __future__ import annotations

import logging
import math
import re
import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Self, TextIO

from rich.console import Console
from rich.text import Text

from deploy.results import format_duration
from deploy.supervising.live_block import LiveBlock
from efficientzero.rpc.stubs import run_pb2

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
_LONGEST_BAR, _SHORTEST_BAR = 40, 8
_ONLY_IN_LOG_FILES = re.compile(
    r"\[reverb/"
    r"|\S+ \S+ INFO Returning a port that wasn't given by portpicker"
    # The launcher's own line says how all of them are tracked; what goes wrong is a warning.
    r"|\S+ \S+ INFO wandb (?:online|offline): group "
)
"""Lines of Reverb about itself, and lines that every role prints alike."""


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
    """Return the progress apart from the two counters, in words."""
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


def progress_block(
    status: run_pb2.RunStatus, pace: Pace, *, width: int, late: str = ""
) -> list[Text]:
    """Return two bars and the facts below them, for a terminal.

    Args:
        status: the newest known.
        pace: how fast the run goes.
        width: columns that no line exceeds; the facts take as many lines as they need.
        late: what to say of a learner that does not answer.
    """
    shown = facts(status, pace)
    if late:
        shown["learner"] = late
    return [*_bars(status, pace, width), *_wrapped(shown, width)]


def _bars(status: run_pb2.RunStatus, pace: Pace, width: int) -> list[Text]:
    counters = _counters(status, pace)
    texts = [f"{count:,}/{budget:,} {rate:.3g}/s" for _, count, budget, rate in counters]
    names = [name for name, *_ in counters]
    used = max(map(len, names)) + max(map(len, texts)) + 2
    bar_width = min(_LONGEST_BAR, width - used)
    lines = []
    for (name, count, budget, _), text in zip(counters, texts, strict=True):
        line = Text(name.ljust(max(map(len, names)) + 1))
        if bar_width >= _SHORTEST_BAR:
            done = round(bar_width * min(1.0, count / max(1, budget)))
            line.append("━" * done, style="magenta").append("━" * (bar_width - done), style="dim")
            line.append(" ")
        line.append(text)
        line.truncate(width)
        lines.append(line)
    return lines


def _wrapped(shown: dict[str, str], width: int) -> list[Text]:
    """Return the facts in lines of at most ``width``; one is only split where it is longer."""
    lines = [Text()]
    for name, value in shown.items():
        fact = f"{name} {value}"
        gap = "  " if len(lines[-1]) else ""
        if len(lines[-1]) and len(lines[-1]) + len(gap) + len(fact) > width:
            lines.append(Text())
            gap = ""
        first, *others = textwrap.wrap(fact, width) if len(fact) > width else [fact]
        lines[-1].append(gap).append(first[: len(name)], style="dim").append(first[len(name) :])
        lines += [Text(other) for other in others]
    return lines


def _counters(
    status: run_pb2.RunStatus, pace: Pace
) -> tuple[tuple[str, int, int, float], tuple[str, int, int, float]]:
    return (
        ("env_steps", status.env_steps, status.env_steps_budget, pace.env_steps_per_s),
        ("train_steps", status.train_steps, status.train_steps_budget, pace.train_steps_per_s),
    )


class RunConsole:
    """The launcher's terminal. Safe to call from any thread; a closed terminal is survived."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._is_broken = False
        self._meter = PaceMeter()
        self._next_plain_s = 0.0
        self._live: LiveBlock | None = None
        if stream.isatty():
            self._live = LiveBlock(Console(file=stream, highlight=False))

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        live, self._live = self._live, None
        if live is not None:
            self._guard(live.stop)

    def line(self, name: str, text: str) -> None:
        """Print one line that the process ``name`` printed, unless it belongs in its log alone."""
        if _ONLY_IN_LOG_FILES.match(text):
            return
        text = _without_name(name, text)
        prefix = f"{name:<{_NAME_WIDTH}}| "
        live = self._live
        if live is None:
            self._guard(lambda: self._write(prefix + text))
            return
        colour = _COLOURS.get(name.rsplit("-", 1)[0], "")
        styled = Text().append(prefix, style=colour).append_text(_unstyled(text))
        self._guard(lambda: live.print(styled))

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
        live, width = self._live, self._live.width if self._live else 0
        line, block = _NEVER_REACHED, [Text(_NEVER_REACHED)]
        if status is not None:
            pace = self._meter.update(now_s, status)
            late = f"has not answered for {silent_s:.0f} s" * (silent_s > 0)
            line = progress_line(status, pace) + f"  (the learner {late})" * bool(late)
            block = progress_block(status, pace, width=width, late=late) if live else []
        if live is not None:
            self._guard(lambda: live.update(Text("\n").join(block)))
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
        """Print the record's message, and the traceback that belongs to it."""
        for line in self.format(record).splitlines():
            self._console.note(line)


def _without_name(name: str, text: str) -> str:
    """Return a role's log line without its name and "INFO": the name is in front of it already."""
    time_of_day, _, rest = text.partition(" ")
    if not rest.startswith(f"{name} "):
        return text
    return f"{time_of_day} {rest.removeprefix(f'{name} ').removeprefix('INFO ')}"


def _unstyled(text: str) -> Text:
    """Return a foreign line as it is: no markup, no colour that could run on."""
    return Text(Text.from_ansi(text).plain)

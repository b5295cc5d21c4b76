"""Where one loop's time goes: mean milliseconds, share of wall and processor time per section.

Used by every role's loop, one timer per thread. ``row()`` returns the metrics to log.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from types import TracebackType

from efficientzero.process.liveness import beat

_RESERVED = ("wait", "other")


class SectionTimer:
    """Times disjoint sections of one thread's loop.

    Sections do not nest, so their shares and ``other`` add up to 1. Those named ``wait_*`` are time
    spent waiting for other processes; their sum is ``wait_share``. Processor time is that of the
    loop's thread; helper threads are not counted.

        with timer.section("wait_batch"):
            batch = queue.get()
        with timer.section("update"):
            ...
        tracker.log(timer.row())
    """

    def __init__(
        self,
        role: str,
        *,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._prefix, self._cpu_prefix = f"{role}/time/", f"{role}/cpu/"
        self._clock, self._cpu_clock = clock, cpu_clock
        self._sections: dict[str, _Section] = {}
        self._open: list[_Section] = []  # none or one
        self._window_started, self._window_cpu_started = clock(), cpu_clock()

    def section(self, name: str) -> _Section:
        """Return the context manager of section ``name``.

        Raises:
            ValueError: ``name`` is no lower-case word (or, on entry: another section is open).
        """
        section = self._sections.get(name)
        if section is None:
            if name in _RESERVED or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"section: got {name!r}, wanted a lower-case word but {_RESERVED}")
            section = self._sections[name] = _Section(
                name, self._clock, self._cpu_clock, self._open
            )
        return section

    def waited_s(self) -> dict[str, float]:
        """Return the seconds in each ``wait_*`` section since the start, an open one included.

        Never reset. Another thread may call it; the newest moments may then be missing.
        """
        now = self._clock()
        return {
            name: section.total_s + (now - section.entered_at if section in self._open else 0.0)
            for name, section in list(self._sections.items())
            if name.startswith("wait_")
        }

    def row(self) -> dict[str, float]:
        """Return the metrics since the last call and reset; call it from the loop's thread.

        A section that is open now counts towards the share up to now, and towards the mean when it
        ends. A mean over no calls is left out.
        """
        now, cpu_now = self._clock(), self._cpu_clock()
        wall_s = max(now - self._window_started, 1e-9)
        cpu_s = cpu_now - self._window_cpu_started
        self._window_started, self._window_cpu_started = now, cpu_now
        for section in self._open:
            section.split(now, cpu_now)
        row: dict[str, float] = {}
        total_share = wait_share = 0.0
        for name, section in self._sections.items():
            share = section.window_s / wall_s
            total_share += share
            wait_share += share * name.startswith("wait_")
            if section.calls:
                row[f"{self._prefix}{name}_ms"] = 1_000.0 * section.calls_s / section.calls
            row[f"{self._prefix}{name}_share"] = share
            row[f"{self._cpu_prefix}{name}_share"] = section.window_cpu_s / wall_s
            cpu_s -= section.window_cpu_s
            section.clear()
        row[f"{self._prefix}wait_share"] = wait_share
        row[f"{self._prefix}other_share"] = max(0.0, 1.0 - total_share)
        row[f"{self._cpu_prefix}other_share"] = max(0.0, cpu_s / wall_s)
        return row


class _Section:
    """Sums of one section; made once, entered often (2 us each time, 10 us with slow clocks)."""

    __slots__ = (
        "_clock",
        "_counted_from",
        "_cpu_clock",
        "_cpu_from",
        "_open",
        "calls",
        "calls_s",
        "entered_at",
        "name",
        "total_s",
        "window_cpu_s",
        "window_s",
    )

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        cpu_clock: Callable[[], float],
        open_sections: list[_Section],
    ) -> None:
        self.name = name
        self._clock, self._cpu_clock = clock, cpu_clock
        self._open = open_sections
        self.entered_at = self._counted_from = self._cpu_from = 0.0
        self.total_s = 0.0  # of all ended calls; never cleared
        self.clear()

    def clear(self) -> None:
        """Reset the sums, but not an open call."""
        self.calls = 0  # ended in this window
        self.calls_s = 0.0  # their whole durations
        self.window_s = 0.0  # time inside this window
        self.window_cpu_s = 0.0  # the thread's processor time inside this window

    def split(self, now: float, cpu_now: float) -> None:
        """Count the open call's times up to now."""
        self.window_s += now - self._counted_from
        self.window_cpu_s += cpu_now - self._cpu_from
        self._counted_from, self._cpu_from = now, cpu_now

    def __enter__(self) -> None:
        if self._open:
            raise ValueError(
                f"section {self.name!r} opened inside {self._open[0].name!r}: sections are disjoint"
            )
        self._open.append(self)
        beat(self.name)
        self._cpu_from = self._cpu_clock()
        self.entered_at = self._counted_from = self._clock()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        now, cpu_now = self._clock(), self._cpu_clock()
        self._open.clear()
        self.calls += 1
        self.calls_s += now - self.entered_at
        self.total_s += now - self.entered_at
        self.window_s += now - self._counted_from
        self.window_cpu_s += cpu_now - self._cpu_from

"""Live rate and current wait of a role's loop.

The loop writes the counts; another thread reads them for the heartbeat to the learner.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from efficientzero.metrics.section_timer import SectionTimer

_WINDOW_S = 10.0
_BUSY = 0.9
"""A loop that is busy for at least this share of its time is shown without a wait."""


class Vitals(NamedTuple):
    """Rate and waits of a process over its last seconds."""

    rate: float  # work per second
    rate_unit: str
    waiting_for: str  # the ``wait_*`` section that took most, without the prefix; empty while busy
    busy: float  # share of the time outside of all ``wait_*`` sections, 0 to 1
    weights_train_step: int  # train_step of the weights in use; -1 before the first


NO_VITALS = Vitals(0.0, "", "its own start", 0.0, -1)
"""Vitals of a process that has not begun its loop."""


class Pulse:
    """Counts of one loop; written by its thread, read by one other."""

    def __init__(
        self,
        timer: SectionTimer,
        rate_unit: str,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin now.

        Args:
            timer: the loop's.
            rate_unit: unit of ``work`` per second: ``env_steps/s``.
            clock: the timer's.
        """
        self.work = 0
        """Units done so far."""
        self.weights_train_step = -1
        """Train_step of the weights in use."""
        self.stuck_in: Callable[[], str] = str
        """Names a call that does not return, in a few words; else empty."""
        self._timer, self._rate_unit, self._clock = timer, rate_unit, clock
        self._points = deque([(clock(), 0, timer.waited_s())])

    def vitals(self) -> Vitals:
        """Return the rate and the waits of the last ten seconds."""
        now, work, waited = self._clock(), self.work, self._timer.waited_s()
        self._points.append((now, work, waited))
        while len(self._points) > 2 and now - self._points[1][0] >= _WINDOW_S:  # noqa: PLR2004  first and last
            self._points.popleft()
        then, work_then, waited_then = self._points[0]
        elapsed = max(now - then, 1e-9)
        waits = {name: total - waited_then.get(name, 0.0) for name, total in waited.items()}
        busy = min(1.0, max(0.0, 1.0 - sum(waits.values()) / elapsed))
        stuck_in = self.stuck_in()
        longest = stuck_in or max(waits, key=lambda name: waits[name], default="")
        return Vitals(
            rate=(work - work_then) / elapsed,
            rate_unit=self._rate_unit,
            waiting_for="" if busy >= _BUSY and not stuck_in else longest.removeprefix("wait_"),
            busy=0.0 if stuck_in else busy,
            weights_train_step=self.weights_train_step,
        )

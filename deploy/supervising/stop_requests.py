"""Stop signals to a launcher: the first stops its run or grid in order, the second at once.

Installed by ``launch.py --local`` and ``ablate``; the supervisor and the grid's runner ask it.
"""

from __future__ import annotations

import signal
import time
from types import FrameType

from efficientzero.process.runtime import StopSignal
from efficientzero.process.stop_signals import stop_signals
from efficientzero.runs.results.run_summary import Outcome

EXIT_FAILED = 1
_SAME_KEYPRESS_S = 0.3


class StopRequests:
    """Signals to the launcher: the first asks the run to stop, the second insists."""

    def __init__(self) -> None:
        self.stop = StopSignal()
        self.is_firm = False
        self.exit_code = 0
        self._first_at = 0.0

    def install(self) -> None:
        """Take the stop signals; the handlers only take note."""
        for signum in stop_signals():
            signal.signal(signum, self._take)

    def outcome(self) -> Outcome:
        """Return why the run was stopped: by a signal or a failed thread of the launcher."""
        if self.stop.failure is not None:
            return Outcome(EXIT_FAILED, f"failed: the launcher: {self.stop.failure}")
        return Outcome(self.exit_code, "interrupted")

    def _take(self, signum: int, frame: FrameType | None) -> None:
        del frame
        now = time.monotonic()
        if not self.stop.is_set():
            self._first_at = now
            self.exit_code = 128 + signum
            self.stop.set(signal.Signals(signum).name)
        elif now - self._first_at > _SAME_KEYPRESS_S:
            # Two signals at once may be one keypress: a shell's, and make's or timeout's.
            self.is_firm = True

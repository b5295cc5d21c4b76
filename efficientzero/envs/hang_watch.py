"""Ends a process whose environment does not return, and logs which one and where it hangs.

Started by the roles that play. A step runs in a call that nothing can break off; from outside such
a process looks busy.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import StopSignal

_LOOK_S = 5.0
_REPORT_S = 30.0
MOST_S = 600.0
"""Seconds after which a call is given up: its process ends, and starts again as after a crash."""

log = logging.getLogger(__name__)


class Call(NamedTuple):
    """A call of an environment that has not returned."""

    what: str  # the environment and what it was asked to do
    since_s: float  # monotonic


def hang_in_words(current: Callable[[], Call | None]) -> str:
    """Say what does not return, for ``Pulse.stuck_in``; empty before 30 s have passed."""
    call = current()
    waited_s = 0.0 if call is None else time.monotonic() - call.since_s
    if waited_s < _REPORT_S:
        return ""
    return f"an environment that has not returned for {waited_s:.0f} s"


def watch_for_hangs(
    current: Callable[[], Call | None], stop: StopSignal, *, most_s: float = MOST_S
) -> None:
    """Look at the current call every few seconds, in a thread.

    Args:
        current: returns the call that is being made, None between calls.
        stop: ends the watch.
        most_s: see ``MOST_S``.
    """

    def look() -> None:
        next_s, reported = _REPORT_S, None
        while not stop.wait(min(_LOOK_S, most_s)):
            call = current()
            if call is None:
                continue
            if call.since_s != reported:
                next_s, reported = min(_REPORT_S, most_s), call.since_s
            waited_s = time.monotonic() - call.since_s
            if waited_s >= most_s:
                _leave(call, waited_s)
            if waited_s >= next_s:
                log.warning("%s has not returned for %.0f s", call.what, waited_s)
                next_s *= 2

    guarded_thread(look, stop, name="env-hangs")


def _leave(call: Call, waited_s: float) -> None:
    log.critical(
        "%s has not returned for %.0f s: this process ends; where it hangs:", call.what, waited_s
    )
    logging.shutdown()
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os._exit(1)

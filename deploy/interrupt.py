"""Ctrl-C before a run has installed its handlers: one line, and what is open is closed.

Installed by ``launch.py`` before its other imports, which take most of its start.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Never

from efficientzero.process.stop_signals import stop_signals


def leave_when_interrupted() -> None:
    """End the command at a stop signal with 128 + signal as exit code.

    By an exception, so that what was begun is cleaned up. ``StopRequests`` takes over later.
    """
    for signum in stop_signals():
        signal.signal(signum, _leave)


def _leave(signum: int, frame: FrameType | None) -> Never:
    del frame
    signal.signal(signum, signal.SIG_IGN)  # a second one must not break off the cleaning up
    name = signal.Signals(signum).name
    print(f"launch.py: interrupted by {name}", file=sys.stderr, flush=True)
    sys.exit(128 + signum)


def flush_or_drop() -> None:
    """Flush stdout and stderr; what nobody reads any more (a closed terminal) is dropped.

    Python flushes once more when it ends, and an error then would change the exit code to 120.
    """
    for stream in (sys.__stdout__, sys.__stderr__):  # a live display may stand before them
        if stream is None:
            continue
        try:
            stream.flush()
            os.write(stream.fileno(), b"")  # a terminal that is gone takes not even nothing
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

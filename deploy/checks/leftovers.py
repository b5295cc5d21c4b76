"""What an earlier launch left behind in a run's folder: named, waited for, and ended.

A launcher that is killed takes its processes with it, unless one of them hangs. Called by
``prepare_resume`` while the folder's lock is held, before anything new is started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.checks import PreflightError
from efficientzero.runs.run_processes import RunProcess, processes_in

_GRACE_S = 60.0
"""Their kernel has asked them to stop when their launcher ended; a learner then saves."""
_KILL_WAIT_S = 10.0
_LOOK_S = 0.1


def end_earlier_launch(directory: Path, *, grace_s: float = _GRACE_S) -> None:
    """Wait until the processes of earlier launches have left the folder; kill those that do not.

    Only orphans are ended: processes that a launcher started which is gone.

    Raises:
        PreflightError: a process that has its launcher, or was started by hand, works there; or an
            orphan cannot be ended.
    """
    found = processes_in(directory)
    in_use = [process for process in found if not process.is_orphan]
    if in_use:
        raise PreflightError(
            f"{directory}: this run is running already: {_named(in_use)}; stop that first"
        )
    if not found:
        return
    _say(f"waiting for what an earlier launch has left here to end: {_named(found)}")
    left = _wait(found, grace_s)
    if left:
        _say(f"killed, because it did not end within {grace_s:.0f} s: {_named(left)}")
        for process in left:
            _kill(process)
        left = _wait(left, _KILL_WAIT_S)
    if left:
        raise PreflightError(
            f"{directory}: got {_named(left)} of an earlier launch, which cannot be killed; wanted "
            "nobody else in the folder"
        )


def _wait(processes: Sequence[RunProcess], timeout_s: float) -> list[RunProcess]:
    """Return those that still run after the time."""
    deadline = time.monotonic() + timeout_s
    left = [process for process in processes if process.is_running()]
    while left and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        left = [process for process in left if process.is_running()]
    return left


def _kill(process: RunProcess) -> None:
    with contextlib.suppress(OSError):  # ended meanwhile, or another user's
        handle = os.pidfd_open(process.pid)
        try:
            if process.is_running():  # its number may have become another's before the handle
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def _named(processes: Sequence[RunProcess]) -> str:
    return ", ".join(f"{process.name} (process {process.pid})" for process in processes)


def _say(text: str) -> None:
    print(f"launch.py: {text}", file=sys.stderr, flush=True)

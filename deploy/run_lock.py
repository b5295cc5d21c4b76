"""One launcher per run folder: a second one is refused, also while the first is stopping."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.preflight import PreflightError, reason
from efficientzero.file_locks import LockHeld, lock_file


@contextmanager
def run_lock(folder: Path) -> Iterator[str]:
    """Hold the run in ``folder``; the system releases it when the process ends.

    Yields:
        What to tell the person: that a second launcher cannot be kept away, where the file system
        has no locks; else nothing.

    Raises:
        PreflightError: another launcher holds it, or the folder cannot be written to.
    """
    path = folder / ".lock"
    try:
        file = path.open("w")
    except OSError as error:
        raise PreflightError(f"{folder}: cannot be written to ({reason(error)})") from error
    with file:
        try:
            is_locked = lock_file(file.fileno())
        except LockHeld:
            raise PreflightError(f"{folder}: this run is running already") from None
        except OSError as error:
            raise PreflightError(f"{path}: cannot be locked ({reason(error)})") from error
        note = "this file system has no locks: do not start the same run a second time meanwhile"
        yield "" if is_locked else note

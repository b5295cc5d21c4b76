"""One launcher per run folder: a second one is refused, also while the first is stopping."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.preflight import PreflightError


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the run in ``folder``; the system lets go of it when the process ends.

    Raises:
        PreflightError: another launcher holds it.
    """
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PreflightError(f"{folder}: this run is running already") from error
        yield

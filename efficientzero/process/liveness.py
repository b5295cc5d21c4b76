"""A sign of life for health checks: when the main thread last made progress, and in which section.

Every wait and every timed section of a role's loop calls ``beat``. A process that works or waits
for others keeps calling it; one that hangs inside a call does not, even if its other threads still
answer. One small file per process, written in place at most once a second, and only if the
environment names a folder. ``python -m deploy.health`` reads them.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

LIVENESS_DIRECTORY_VARIABLE = "EFFICIENTZERO_LIVENESS_DIR"

_INTERVAL_S = 1.0
_BYTES = 256


class LifeSign(NamedTuple):
    """The last sign of life of one process."""

    name: str  # role-index
    pid: int
    monotonic_s: float  # this machine's clock, so that a jump of the wall clock changes nothing
    doing: str  # section or wait


class _Writer:
    def __init__(self, path: Path, name: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._name = name
        self._thread = threading.get_ident()
        self._next_s = 0.0

    def beat(self, doing: str) -> None:
        now = time.monotonic()
        if now < self._next_s or threading.get_ident() != self._thread:
            return
        self._next_s = now + _INTERVAL_S
        record = json.dumps(LifeSign(self._name, os.getpid(), now, doing[:100]))
        try:
            os.pwrite(self._file, record.encode().ljust(_BYTES), 0)
        except OSError:
            self._next_s = now + 60.0  # a full disk: the check will say so, the work goes on


_writer: list[_Writer] = []  # none or one


def start_liveness(role: str, index: int) -> None:
    """Write the calling thread's beats to a file, if the environment names a folder.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = os.environ.get(LIVENESS_DIRECTORY_VARIABLE)
    if folder:
        _writer[:] = [_Writer(Path(folder) / f"{role}-{os.getpid()}", f"{role}-{index}")]
        beat("starting")


def beat(doing: str) -> None:
    """Note that the main thread made progress (0.1 us; a write of 256 bytes once a second)."""
    for writer in _writer:
        writer.beat(doing)


def read_life_signs(folder: Path) -> list[LifeSign]:
    """Return the last sign of life of every process that wrote one here; skip torn ones.

    Raises:
        OSError: a file exists but cannot be read, so the state of its process is unknown.
    """
    signs = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            signs.append(LifeSign(*json.loads(path.read_text())))
        except (FileNotFoundError, ValueError, TypeError):
            continue
    return signs

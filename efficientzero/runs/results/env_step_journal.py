"""The run's count of env_steps on disk, newer than any checkpoint.

Kept by the learner. A restarted learner reads how many env_steps were collected after its last
checkpoint, so the budget stays exact. Eight bytes, written in place; they survive a crash of the
process, not of the machine. The launcher reads it for the run's summary.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

_NAME = "env_steps-"
_COUNT = struct.Struct("<q")


def newest_count(directory: Path) -> int:
    """Return the count of the newest launch that had a learner; 0 if nothing can be read."""
    paths = [path for path in directory.glob(f"{_NAME}*") if _launch_of(path) >= 0]
    try:
        return _count_in(max(paths, key=_launch_of).read_bytes()) if paths else 0
    except OSError:
        return 0


def _launch_of(path: Path) -> int:
    number = path.name.removeprefix(_NAME)
    return int(number) if number.isdecimal() else -1


def _count_in(raw: bytes) -> int:
    return int(_COUNT.unpack(raw)[0]) if len(raw) == _COUNT.size else 0


class EnvStepJournal:
    """One launch's count: a run that is resumed as a whole starts a new one."""

    def __init__(self, directory: Path, launch: int) -> None:
        """Open or create the file of launch number ``launch`` in the run folder.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        path = directory / f"{_NAME}{launch}"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if os.fstat(self._file).st_size < _COUNT.size:
            self.write(0)  # allocates the file, so that later writes succeed on a full disk

    def read(self) -> int:
        """Return the last count; 0 in a new file."""
        return _count_in(os.pread(self._file, _COUNT.size, 0))

    def write(self, count: int) -> None:
        """Set the count; takes about a microsecond.

        Raises:
            OSError: the write failed; a full disk is no reason, as the file is allocated.
        """
        os.pwrite(self._file, _COUNT.pack(count), 0)

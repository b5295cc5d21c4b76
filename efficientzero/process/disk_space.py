"""A full disk is a pause: writes wait for room, and one file holds space for the last of them.

Used by the learner, because a run cannot go on without its writes. A waiting writer registers
here, and ``on_change`` holds collection and training meanwhile. Other disk errors stay errors.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from efficientzero.process.liveness import beat
from efficientzero.process.runtime import StopSignal

LONGEST_WAIT_S = 12 * 3600.0
"""After this wait a full disk is raised as an error."""
_LOOK_S = 2.0
_AS_GOOD_AS_FULL = 1 << 20  # bytes free
_FULL = (errno.ENOSPC, errno.EDQUOT)
RESERVE_FILE = "reserved_space"
SMALL_FILES = 4 << 20
"""Bytes for a run's logs and small files, and for what ``check_room`` leaves free."""

_Result = TypeVar("_Result")

log = logging.getLogger(__name__)


def is_full(error: BaseException) -> bool:
    """Return whether an error means that a disk, or a user's quota, is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def free_bytes(path: Path) -> int:
    """Return the bytes free for us on the file system of ``path``; 0 if unknown."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 0


def check_room(path: Path) -> None:
    """Raise if the disk of ``path`` is nearly full.

    Used after a write by another program, which does not report whether it succeeded.

    Raises:
        OSError: as a write would.
    """
    if free_bytes(path) < _AS_GOOD_AS_FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


class _Wait(NamedTuple):
    since_s: float
    why: str


class DiskPause:
    """The writes of this process that wait for room on a disk. Safe to call from any thread."""

    def __init__(
        self,
        stop: StopSignal,
        *,
        longest_wait_s: float = LONGEST_WAIT_S,
        look_s: float = _LOOK_S,
    ) -> None:
        """Begin with no waiting write.

        Args:
            stop: ends every wait.
            longest_wait_s: seconds after which a full disk is raised.
            look_s: seconds between two tries.
        """
        self._stop = stop
        self._longest_wait_s, self._look_s = longest_wait_s, look_s
        self.on_change: Callable[[str], None] = lambda why: None
        """Called with the reason why the run waits, and with an empty text when it goes on."""
        self._lock = threading.Lock()
        self._waits: dict[Path, _Wait] = {}  # under the lock

    def failed(self, path: Path, error: OSError, *, wanted: int = 0) -> None:
        """Note that ``path`` could not be written; the caller tries again later.

        Args:
            path: the file that could not be written.
            error: of that write.
            wanted: bytes that the write needs, as far as known.

        Raises:
            OSError: ``error``: it is of another kind, or the wait has been too long.
        """
        if not is_full(error):
            raise error
        now = time.monotonic()
        with self._lock:
            known = self._waits.get(path)
            since_s = now if known is None else known.since_s
            if now - since_s > self._longest_wait_s:
                raise error
            free = free_bytes(path.parent) / 1e6
            need = f", wanted {wanted / 1e6:.1f} MB" if wanted else ""
            why = f"disk full: {path}, {free:.1f} MB free{need}"
            self._waits[path] = _Wait(since_s, why)
            self.on_change(why)
        if known is None:
            log.error(
                "%s; the run waits for room, at most %.0f h", why, self._longest_wait_s / 3600
            )

    def written(self, path: Path) -> None:
        """Note that ``path`` is written, or given up."""
        with self._lock:
            known = self._waits.pop(path, None)
            if known is None:
                return
            self.on_change(next(iter(self._waits.values())).why if self._waits else "")
        waited_s = time.monotonic() - known.since_s
        log.info("%s: the wait for room is over after %.0f s", path, waited_s)

    def write(self, write: Callable[[], _Result], path: Path, *, wanted: int = 0) -> _Result:
        """Return ``write()``, called again until the disk takes it; blocks.

        Args:
            write: leaves nothing behind if it fails.
            path: the file it writes.
            wanted: bytes it needs, as far as known. The next try waits until that many, and at
                least a megabyte, are free.

        Raises:
            OSError: no room before a stop was asked for or the wait was too long; or another error.
        """
        try:
            while True:
                try:
                    return write()
                except OSError as error:
                    self.failed(path, error, wanted=wanted)
                    full = error
                while not self._stop.wait(self._look_s):
                    beat("waiting for room on the disk")
                    if free_bytes(path.parent) >= max(wanted, _AS_GOOD_AS_FULL):
                        break
                    self.failed(path, full, wanted=wanted)
                if self._stop.is_set():
                    raise full
        finally:
            self.written(path)


class Reserve:
    """A file in the run folder that reserves disk space for the last checkpoint."""

    def __init__(self, directory: Path) -> None:
        """Reserve nothing yet; an earlier process's reserve stays until ``release``."""
        self._path = directory / RESERVE_FILE
        self._can_keep = True

    def keep(self, num_bytes: int) -> None:
        """Reserve ``num_bytes``; if the disk has no room, keep the previous reserve."""
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                before = os.fstat(handle).st_size
                if before > num_bytes:
                    os.ftruncate(handle, num_bytes)
                if num_bytes:
                    self._allocate(handle, num_bytes, before)
            finally:
                os.close(handle)
        except OSError as error:
            if self._can_keep:
                log.warning(
                    "no room is kept for the last checkpoint (%.1f MB): %s", num_bytes / 1e6, error
                )
            self._can_keep = False
        else:
            self._can_keep = True

    def _allocate(self, handle: int, num_bytes: int, before: int) -> None:
        try:
            os.posix_fallocate(handle, 0, num_bytes)
        except OSError:
            os.ftruncate(handle, before)  # some file systems leave a part
            if not before:
                self.release()
            raise

    def release(self) -> bool:
        """Give the room back; return whether there was any."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            return True
        return False


def release_reserve(directory: Path) -> bool:
    """Give back the room kept in a run folder whose learner has ended."""
    return Reserve(directory).release()

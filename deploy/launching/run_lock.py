"""One launcher per run folder: who starts first keeps it, a second one is refused.

The lock comes before anything else is read or written in a folder, and is held until the launcher
ends. What is made for a run that then cannot start is removed again, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from deploy.checks import PreflightError, reason
from efficientzero.process.file_locks import LockHeld, lock_file

_LOCK = ".lock"
_NO_LOCKS = "this file system has no locks: do not start the same run a second time meanwhile"


@contextmanager
def run_lock(folder: Path) -> Iterator[str]:
    """Hold the run in ``folder``; the system releases it when the process ends.

    Yields:
        A note to print: that a second launcher cannot be kept away, where the file system
        has no locks; else nothing.

    Raises:
        PreflightError: another launcher holds it, or the folder cannot be written to.
    """
    path = folder / _LOCK
    try:
        file = path.open("a")
    except OSError as error:
        raise PreflightError(f"{folder}: cannot be written to ({reason(error)})") from error
    with file:
        try:
            is_locked = lock_file(file.fileno())
        except LockHeld:
            raise PreflightError(f"{folder}: this run is running already") from None
        except OSError as error:
            raise PreflightError(f"{path}: cannot be locked ({reason(error)})") from error
        yield "" if is_locked else _NO_LOCKS


@dataclass(frozen=True, slots=True)
class NewRunFolder:
    """A folder that held nothing when this process locked it."""

    path: Path  # absolute
    note: str
    """As of ``run_lock``."""
    lock: ExitStack
    """Lets go of the folder."""
    is_made: bool  # by this process

    def give_up(self, *names: str) -> None:
        """Remove the entries ``names``, which this process made, and the folder if it made that."""
        for name in names:
            entry = self.path / name
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):  # never made, or the disk refuses that, too
                    entry.unlink()
        with contextlib.suppress(OSError):
            (self.path / _LOCK).unlink()
            if self.is_made:
                self.path.rmdir()  # refused while anything of others is in it
        self.lock.close()


def new_run_folder(runs_dir: Path, name: str, *, is_given: bool) -> NewRunFolder:
    """Create the run folder, or take an empty one, and lock it.

    Args:
        runs_dir: where it shall lie.
        name: its name.
        is_given: a person chose the name, so it must be free; else a number is appended.

    Raises:
        PreflightError: a given name is taken, or the disk refuses.
    """
    path, number = runs_dir.resolve() / name, 1
    try:
        while True:
            folder = _claim(path)
            if folder is not None:
                return folder
            if is_given:
                raise PreflightError(
                    f"--run-id: {path} exists already; choose another name or remove it"
                )
            number += 1
            path = path.with_name(f"{name}-{number}")
    except OSError as error:
        raise PreflightError(f"--runs-dir: cannot create {path} ({reason(error)})") from error


def _claim(path: Path) -> NewRunFolder | None:
    """Lock a folder that is new or holds nothing; return None if it is another's."""
    try:
        path.mkdir()
        is_made = True
    except FileExistsError:
        if not path.is_dir() or _entries(path):
            return None
        is_made = False
    try:
        file, is_new_lock = _open_lock(path / _LOCK)
    except FileNotFoundError:
        return None  # another process has just given the folder up
    with ExitStack() as stack:
        stack.enter_context(file)
        try:
            is_locked = lock_file(file.fileno())
        except LockHeld:
            return None
        # Without locks the one who made the file is first. With them the file may be another's
        # that was given up, or there may be a run by now.
        is_mine = is_locked or is_new_lock
        if not is_mine or not _is_at(file, path / _LOCK) or _entries(path):
            return None
        note = "" if is_locked else _NO_LOCKS
        return NewRunFolder(path, note, stack.pop_all(), is_made)


def _open_lock(path: Path) -> tuple[TextIOWrapper, bool]:
    """Return the open file, and whether this call made it."""
    try:
        return path.open("x"), True
    except FileExistsError:
        return path.open("a"), False


def _entries(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name != _LOCK]


def _is_at(file: TextIOWrapper, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False

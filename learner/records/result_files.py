"""The files of a run's results: one JSON line a result, written although the disk may be full.

Used by ``run_record``; not thread-safe.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from efficientzero.process.disk_space import DiskPause, is_full
from efficientzero.runs.lease import Fenced
from efficientzero.runs.results.episode_lines import shorten_file
from efficientzero.runs.run_folder import append_lines, read_lines, rewrite_lines

Line = dict[str, Any]
"""One result."""


class ResultFiles:
    """Appends lines to files of a run folder; what a full disk refuses waits in memory."""

    def __init__(self, pause: DiskPause | None, check_lease: Callable[[], None]) -> None:
        """Keep the parts.

        Args:
            pause: notes a full disk; None: a full disk is an error.
            check_lease: raises if another process owns the folder now.
        """
        self._pause, self._check_lease = pause, check_lease
        self._unwritten: dict[Path, list[str]] = {}
        self._failure: OSError | Fenced | None = None

    def kept(self, path: Path, wanted: Callable[[Line], bool]) -> list[Line]:
        """Remove damaged and unwanted lines from a file; return the others."""
        if self._pause is None:
            return _keep(path, wanted)
        return self._pause.write(lambda: _keep(path, wanted), path)

    def append(self, path: Path, lines: Sequence[Line]) -> None:
        """Write whole lines and flush them, so that a reader sees them at once."""
        self._unwritten.setdefault(path, []).extend(map(json.dumps, lines))
        self._write()

    def shorten(self, path: Path) -> int | None:
        """Shorten the file of episodes; return its number of lines, None if that failed."""
        if path in self._unwritten:
            return None  # it is not whole now
        try:
            return shorten_file(path)
        except OSError as error:
            if not is_full(error):
                self._failure = error
            return None

    def check(self) -> None:
        """Write the remaining lines; raise the error of a failed write.

        Raises:
            OSError: folder gone, disk full for too long. Later results would be lost.
            Fenced: another process owns the folder.
        """
        self._write()
        if self._failure is not None:
            raise self._failure

    def stop_waiting(self) -> None:
        """From now on a full disk is an error."""
        self._pause = None

    def _write(self) -> None:
        """Write the remaining lines, as far as the disk accepts them."""
        for path, lines in list(self._unwritten.items()):
            try:
                self._check_lease()
                append_lines(path, lines)
            except Fenced as error:
                self._failure = error
                return
            except OSError as error:
                self._note_failure(path, error)
                continue
            del self._unwritten[path]
            if self._pause is not None:
                self._pause.written(path)

    def _note_failure(self, path: Path, error: OSError) -> None:
        try:
            if self._pause is None:
                raise error
            self._pause.failed(path, error)
        except OSError as final:
            self._failure = final


def _keep(path: Path, wanted: Callable[[Line], bool]) -> list[Line]:
    """Remove damaged and unwanted lines from a file of records; return the others."""
    if not path.exists():
        return []
    kept = [line for line in read_lines(path) if wanted(line)]
    rewrite_lines(path, kept)
    return kept

"""The replay service's snapshots on disk: which one to start from, and a copy of the previous one.

Used by ``server``. Reverb writes a snapshot when asked to (``request``), into its own folder, named
by the wall clock, and deletes there all names that sort before the last: even the new one, if the
clock was set back. So complete snapshots are moved into a second folder and numbered, and a damaged
newest snapshot loses only the data since the previous one.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path

_DONE = "DONE"
STREAMS = ("tables.tfrecord", "items.tfrecord", "chunks.tfrecord")
FILES = (*STREAMS, _DONE)
"""All files of a snapshot."""
_READ_BYTES = 1 << 20
_NUMBERED = re.compile(r"(\d{6})-(.+)")

log = logging.getLogger(__name__)


class SnapshotFolder:
    """``<folder>/live``, Reverb's own, and ``<folder>/kept``, the newest few."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        """Create the folders.

        Args:
            folder: used by this service only.
            keep: number of snapshots kept, including the newest.
        """
        self.live = folder / "live"
        """For Reverb's checkpointer."""
        self._kept, self._keep = folder / "kept", keep
        for path in (self.live, self._kept):
            path.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> str:
        """Leave only the newest undamaged snapshot in ``live``; return its name, or "".

        Reverb itself would start empty on a half-written snapshot; on a truncated one it may end
        the process or silently restore a part.
        """
        self.keep_newest()
        for path in self.live.iterdir():
            log.warning("replay snapshot %s was never finished", path)
            _remove(path)
        for path in reversed(in_order(self._kept.iterdir())):
            if is_intact(path):
                _link(path, self.live / reverbs_name(path))
                return reverbs_name(path)
            log.warning("replay snapshot %s is damaged", path)
        return ""

    def forget_restored(self) -> None:
        """Empty ``live`` once the service has read it: its name may sort after later names."""
        for path in self.live.iterdir():
            _remove(path)

    def keep_newest(self) -> None:
        """Move newly completed snapshots into ``kept``, numbered, and drop the oldest there.

        A damaged one is removed: on a full disk Reverb writes empty or truncated files, reports
        success, and deletes the previous snapshot. The snapshots in ``kept`` must survive that.
        """
        kept = in_order(self._kept.iterdir())
        number = _order(kept[-1])[0] if kept else 0
        for path in sorted(path for path in self.live.iterdir() if (path / _DONE).exists()):
            if path.name not in map(reverbs_name, kept):
                if not is_intact(path):
                    log.error("replay snapshot %s is damaged (a full disk?) and removed", path)
                    _remove(path)
                    continue
                number += 1
                kept.append(self._kept / f"{number:06d}-{path.name}")
                _link(path, kept[-1])
            _remove(path)
        for path in kept[: -self._keep]:
            _remove(path)


def newest_size(folder: Path) -> int:
    """Return the bytes of the newest snapshot kept in a service's folder; 0 without one."""
    try:
        kept = in_order((folder / "kept").iterdir())
        return sum(file.stat().st_size for file in kept[-1].iterdir()) if kept else 0
    except OSError:  # none yet, or removed meanwhile
        return 0


def in_order(snapshots: Iterable[Path]) -> list[Path]:
    """Return snapshots of ``kept`` in the order in which they were written."""
    return sorted(snapshots, key=_order)


def reverbs_name(snapshot: Path) -> str:
    """Return the name that Reverb gave to a snapshot of ``live`` or ``kept``."""
    numbered = _NUMBERED.fullmatch(snapshot.name)
    return numbered[2] if numbered else snapshot.name


def _order(snapshot: Path) -> tuple[int, str]:
    """Those without a number are older: of a run that was forked, or of an earlier version."""
    numbered = _NUMBERED.fullmatch(snapshot.name)
    return (int(numbered[1]) if numbered else 0, snapshot.name)


def is_intact(snapshot: Path) -> bool:
    """Return whether a snapshot was finished and each of its compressed streams ends properly.

    Raises:
        OSError: it cannot be read: that it is damaged is then not known.
    """
    if not (snapshot / _DONE).exists():
        return False
    try:
        return all(_ends_properly(snapshot / name) for name in STREAMS)
    except (FileNotFoundError, zlib.error):
        return False


def _ends_properly(path: Path) -> bool:
    stream = zlib.decompressobj()
    with path.open("rb") as file:
        while not stream.eof:
            piece = file.read(_READ_BYTES)
            if not piece:
                return False
            stream.decompress(piece)
    return True


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Make ``target`` a hard link to the file ``source``, or a copy where links cannot be made.

    Some file systems have none, and Linux refuses one to another user's file.

    Raises:
        OSError: no such file, or the disk refuses the copy.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def _link(source: Path, target: Path) -> None:
    """Link a snapshot: complete under its name or not there at all."""
    unfinished = target.with_name(f".{target.name}")
    _remove(unfinished)
    shutil.copytree(source, unfinished, copy_function=link_or_copy)
    unfinished.rename(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

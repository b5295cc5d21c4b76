"""The replay service's snapshots on disk: which one to start from, and a copy of the one before.

Used by ``server``. Reverb writes a snapshot when asked to (``snapshot_request``), into a folder
of its own in which it deletes everything else; so complete ones are linked into a second folder,
and a damaged newest one costs only what came after the one before.
"""

from __future__ import annotations

import logging
import os
import shutil
import zlib
from pathlib import Path

_DONE = "DONE"
STREAMS = ("tables.tfrecord", "items.tfrecord", "chunks.tfrecord")
FILES = (*STREAMS, _DONE)
"""All that a snapshot consists of."""
_READ_BYTES = 1 << 20

log = logging.getLogger(__name__)


class SnapshotFolder:
    """``<folder>/live``, Reverb's own, and ``<folder>/kept``, the newest few."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        """Create the folders.

        Args:
            folder: of this service alone.
            keep: snapshots kept, the newest included.
        """
        self.live = folder / "live"
        """For Reverb's checkpointer."""
        self._kept, self._keep = folder / "kept", keep
        for path in (self.live, self._kept):
            path.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> str:
        """Leave only the newest undamaged snapshot in ``live``; return its name, or nothing.

        Reverb itself would start empty on a half-written snapshot, and on a cut one it may end
        the process or restore a part without a word.
        """
        found = {path.name: path for path in (*self._kept.iterdir(), *self.live.iterdir())}
        chosen = ""
        for name in sorted(found, reverse=True):
            if is_intact(found[name]):
                chosen = name
                break
            log.warning("replay snapshot %s is damaged or was never finished", found[name])
        for path in self.live.iterdir():
            if path.name != chosen:
                _remove(path)
        if chosen and not (self.live / chosen).exists():
            _link(found[chosen], self.live / chosen)
        return chosen

    def keep_newest(self) -> None:
        """Link a newly completed snapshot into ``kept`` and drop the oldest there."""
        complete = [path for path in self.live.iterdir() if (path / _DONE).exists()]
        for path in complete:
            if not (self._kept / path.name).exists():
                _link(path, self._kept / path.name)
        for path in sorted(self._kept.iterdir())[: -self._keep]:
            _remove(path)


def is_intact(snapshot: Path) -> bool:
    """Tell whether a snapshot was finished and each of its compressed streams ends properly."""
    if not (snapshot / _DONE).exists():
        return False
    try:
        return all(_ends_properly(snapshot / name) for name in STREAMS)
    except (OSError, zlib.error):
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


def _link(source: Path, target: Path) -> None:
    """Copy a snapshot by hard links: complete under its name or not there at all."""
    unfinished = target.with_name(f".{target.name}")
    _remove(unfinished)
    shutil.copytree(source, unfinished, copy_function=os.link)
    unfinished.rename(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

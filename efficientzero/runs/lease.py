"""Who may write into a run folder: one process of each name, the newest.

Every process that writes there (the launcher, the learner, replay) takes a lease when it starts and
checks it before each write. A file in the folder holds the fencing number. So this works on every
file system and between hosts, where locks and process ids do not help.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efficientzero.process.runtime import PlainError
from efficientzero.runs.run_folder import write_json

LEASE_FOLDER = "leases"
_LAUNCHER = "launcher"
_LOOK_S = 1.0


class Fenced(PlainError):
    """Another process has taken this one's place in the run folder."""

    is_permanent = True


@dataclass(slots=True)
class Lease:
    """The right of one process to write into a run folder. Safe to use from any thread."""

    path: Path
    """The file with the newest holder."""
    token: str
    """Random; identifies this holder."""
    _looked_at: float = 0.0  # monotonic seconds

    def check(self) -> None:
        """Read the folder; call it immediately before each write.

        The file is opened each time: NFS then asks the server, while it may answer a ``stat`` from
        its cache.

        Raises:
            Fenced: another process has the place now.
            OSError: the folder cannot be read.
        """
        holder = _read(self.path)
        # If the file is missing, no process has taken the place.
        if holder and holder["token"] != self.token:
            raise Fenced(
                f"{self.path.name} {_described(holder)} has taken over {self.path.parents[1]}: "
                "this process writes nothing there any more"
            )
        self._looked_at = time.monotonic()

    def check_now_and_then(self) -> None:
        """Check at most once a second, for loops.

        Raises:
            Fenced: as ``check``.
            OSError: as ``check``.
        """
        if time.monotonic() - self._looked_at >= _LOOK_S:
            self.check()


def take_lease(directory: Path, name: str, *, launch: int) -> Lease:
    """Take the place of process ``name`` in a run folder; its previous holder is fenced.

    Args:
        directory: the run folder.
        name: role and index, ``learner-0``.
        launch: number of the launch that the process belongs to, ``RunInfo.num_resumes``.

    Raises:
        Fenced: the run has been resumed since that launch.
        OSError: the folder cannot be written to.
    """
    _check_launch(directory, name, launch)
    path = directory / LEASE_FOLDER / name
    lease = Lease(path, secrets.token_hex(8))
    before = _read(path)
    holder = {
        "number": before["number"] + 1 if before else 1,
        "token": lease.token,
        "launch": launch,
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }
    write_json(path, holder)
    # Again: a launcher may have looked for holders just before the file was there.
    _check_launch(directory, name, launch)
    lease.check()
    return lease


def take_over(directory: Path, *, launch: int) -> Lease:
    """Take the launcher's place, and fence all processes of earlier launches on any host.

    Returns:
        The launcher's lease.

    Raises:
        Fenced: another launcher was faster.
        OSError: the folder cannot be written to.
    """
    # First its own: it keeps processes of earlier launches from taking a place after the list.
    lease = take_lease(directory, _LAUNCHER, launch=launch)
    for path in _files(directory):
        holder = _read(path)
        if holder and holder["launch"] < launch:
            take_lease(directory, path.name, launch=launch)
    return lease


def _check_launch(directory: Path, name: str, launch: int) -> None:
    holders = [holder for path in _files(directory) if (holder := _read(path))]
    newest = max(holders, key=lambda holder: int(holder["launch"]), default=None)
    if newest is not None and newest["launch"] > launch:
        raise Fenced(
            f"{name} is of launch {launch} of {directory}, but launch {newest['launch']} "
            f"{_described(newest)} has taken over: this process writes nothing there"
        )


def _files(directory: Path) -> list[Path]:
    # A name that begins with a dot is a file that is being written.
    return sorted((directory / LEASE_FOLDER).glob("[!.]*"))


def _read(path: Path) -> dict[str, Any] | None:
    """Return the holder in a file, or None where there is none."""
    for is_last in (False, True):
        try:
            text = path.read_text()
        except FileNotFoundError:
            return None
        except OSError:  # ESTALE: replaced on the server while it was open here
            if is_last:
                raise
            continue
        break
    try:
        holder: dict[str, Any] = json.loads(text)
        int(holder["number"]), int(holder["launch"]), holder["token"]
    except (KeyError, TypeError, ValueError):
        return None  # damaged by a power cut: the holder is unknown
    return holder


def _described(holder: dict[str, Any]) -> str:
    return f"(process {holder.get('pid')} on {holder.get('host')})"

"""The weights of the pool's members: published, in files, and found again after a resume.

Called by the publishing thread (``publications``) and by the learner.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from efficientzero.process.disk_space import DiskPause
from efficientzero.process.runtime import seed_sequence
from efficientzero.runs.lease import Lease
from efficientzero.runs.run_folder import RunInfo
from learner.weights.league import League, Member
from learner.weights.publisher import WeightPublisher

FOLDER, STATE_FILE = "league", "league.json"
_SUFFIX = ".safetensors"
_STREAM = 4
"""Of the learner's seeds; 0 to 3 are its network's, its loader's and its noise."""

log = logging.getLogger(__name__)


class Members:
    """Keeps a league's weights; one thread admits, any may save."""

    def __init__(
        self,
        league: League,
        publisher: WeightPublisher,
        run_folder: Path,
        disk: DiskPause,
        *,
        check_lease: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep the parts; nothing is written yet.

        Args:
            league: who is a member.
            publisher: serves members' weights.
            run_folder: gets the folder ``league``.
            disk: waits where the disk is full.
            check_lease: raises if another process owns the folder now.
        """
        self.league, self._publisher = league, publisher
        self._folder, self._disk, self._check_lease = run_folder / FOLDER, disk, check_lease
        self._saving = threading.Lock()
        self._saved_changes = 0  # under the lock

    def admit(self, payload: bytes, train_step: int) -> None:
        """Make the acting weights of ``train_step`` a member if that is due.

        First its file, then the league's: a learner that dies between them leaves a file of no
        member, which ``restore`` removes.

        Args:
            payload: as published.
            train_step: of the weights.

        Raises:
            OSError: the file cannot be written.
            Fenced: another process owns the folder.
        """
        if not self.league.is_due(train_step):
            return
        digest = hashlib.sha256(payload).hexdigest()
        member = Member(self.league.number_of(train_step), train_step, digest)
        path = self._path(member)
        self._disk.write(lambda: self._write(path, payload), path)
        self._publisher.publish_member(member.number, payload, train_step)
        gone = self.league.add(member)
        self.save()
        if gone is not None:
            self._publisher.drop_member(gone.number)
            self._path(gone).unlink(missing_ok=True)
            log.info("%s left the pool: the two beside it are closest", gone.name)

    def save(self) -> None:
        """Write ``league.json`` if anything has changed since then; raises as ``admit`` does."""
        with self._saving:
            changes = self.league.num_changes
            if changes == self._saved_changes:
                return
            values = {
                **self.league.state(),
                "ladder": [place._asdict() for place in self.league.ladder()],
            }
            path, text = self._folder / STATE_FILE, json.dumps(values, indent=1)
            self._disk.write(lambda: self._write(path, text.encode()), path)
            self._saved_changes = changes

    def restore(self, state: Mapping[str, Any] | None, train_steps: int) -> None:
        """Go on with a checkpoint's members whose files are whole; remove all others.

        Members and games from after the checkpoint belong to train_steps that are made again.

        Args:
            state: the league's in the checkpoint; None: there is no checkpoint.
            train_steps: of the checkpoint.

        Raises:
            OSError: a file cannot be read, removed or written.
            Fenced: another process owns the folder.
        """
        self._check_lease()
        kept = []
        for values in () if state is None else state["members"]:
            member = Member(**values)
            payload = self._read(member)
            if member.train_step <= train_steps and payload is not None:
                self._publisher.publish_member(member.number, payload, member.train_step)
                kept.append(member)
        whole = {self._path(member) for member in kept}
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.name != STATE_FILE and path not in whole:
                    log.info("%s is of no member at train_step %d: removed", path, train_steps)
                    path.unlink()
        if state is not None:
            self.league.restore(state, tuple(kept))
            self.save()

    def _read(self, member: Member) -> bytes | None:
        """Return the weights of a member, or None if they are lost or damaged."""
        try:
            payload = self._path(member).read_bytes()
        except FileNotFoundError:
            log.warning("%s: its file is gone, it left the pool later", member.name)
            return None
        if hashlib.sha256(payload).hexdigest() != member.sha256:
            log.warning("%s: its file is damaged, it is no opponent any more", member.name)
            return None
        return payload

    def _path(self, member: Member) -> Path:
        return self._folder / f"{member.name}{_SUFFIX}"

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file whole or not at all."""
        self._check_lease()
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f"{path.name}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._check_lease()  # writing takes its time
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def members_of(
    run: RunInfo, publisher: WeightPublisher, disk: DiskPause, lease: Lease, *, incarnation: int
) -> Members | None:
    """Return the members of a run's pool, none so far; None of a run without a pool."""
    if not run.config.league.has_pool:
        return None
    seeds = seed_sequence(run.config.seed, "learner", 0, _STREAM, incarnation)
    league = League(run.config.league, np.random.default_rng(seeds))
    return Members(league, publisher, run.directory, disk, check_lease=lease.check)

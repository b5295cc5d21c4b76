"""Writes checkpoints in the background, each together with a snapshot of replay.

Used by the learner. A save copies the tensors; everything slow happens in a thread. A checkpoint
appears on disk only once replay has written its snapshot, which is taken after the state. So replay
holds every env_step that the checkpoint counts, except the unfinished ends of running episodes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map

from efficientzero.process.disk_space import SMALL_FILES, DiskPause, Reserve, check_room, is_full
from efficientzero.process.guarded_thread import GuardedThread, guarded_thread
from efficientzero.process.runtime import StopSignal
from efficientzero.runs.checkpoint import save_checkpoint
from efficientzero.runs.lease import Lease
from efficientzero.runs.run_folder import RunInfo
from replay.snapshots import SnapshotFailed, newest_size, request_snapshot

_SNAPSHOT_S = 40.0  # at the end: less than the learner's grace, so that the weights are saved

log = logging.getLogger(__name__)


class CheckpointSaver:
    """One checkpoint at a time; use from one thread."""

    def __init__(
        self,
        folder: Path,
        *,
        keep: int,
        stop: StopSignal,
        snapshot_replay: Callable[[], str] | None = None,
        patience_s: float = 10.0,
        pause: DiskPause | None = None,
        reserve: Reserve | None = None,
        snapshot_bytes: Callable[[], int] = lambda: 0,
        check_lease: Callable[[], None] = lambda: None,
    ) -> None:
        """Write into ``folder``.

        Args:
            folder: of the checkpoints.
            keep: number of newest checkpoints kept.
            stop: set when the thread fails.
            snapshot_replay: has replay write a snapshot and returns its name; raises on a failure.
            patience_s: longest wait of a blocking save for the previous one, seconds.
            pause: registers the wait for room on a full disk; None: a full disk is an error.
            reserve: room for the last save, used when the disk is full.
            snapshot_bytes: returns the size of replay's newest snapshot.
            check_lease: raises if another process owns the folder now.
        """
        self._folder, self._keep, self._snapshot_replay = folder, keep, snapshot_replay
        self._stop = stop
        self._patience_s, self._check_lease = patience_s, check_lease
        self._pause, self._reserve, self._snapshot_bytes = pause, reserve, snapshot_bytes
        self._newest_bytes = 0  # of the newest checkpoint
        self._thread: GuardedThread | None = None

    def save(self, state: dict[str, Any], *, wait: bool) -> bool:
        """Write ``state``, which holds its ``train_step``; return False if one is being written.

        Args:
            state: nested dicts and lists of tensors and plain values; copied before this returns.
            wait: whether to return only when it is on disk.

        Raises:
            OSError: with ``wait``, the write failed, or the disk was full for too long. Without
                ``wait`` this is logged, and training goes on with the existing checkpoints.
        """
        if not wait and self._is_writing():
            return False
        copied = tree_map(_copied, state)
        if wait:
            if self._thread is not None:
                self._thread.join(self._patience_s)
            is_writing = self._is_writing()
            if is_writing:  # two snapshots at once would delete each other's files
                log.warning(
                    "checkpoint without a snapshot of replay: the one before is not written yet"
                )
            self._write_last(copied, with_replay=not is_writing)
            return True
        self._thread = guarded_thread(
            self._write_or_log, self._stop, name="checkpoint", args=(copied,)
        )
        return True

    def _is_writing(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _write_or_log(self, state: dict[str, Any]) -> None:
        try:
            self._write_when_there_is_room(state)
            if self._reserve is not None:
                self._reserve.keep(self._wanted() + SMALL_FILES)
        except OSError as error:
            if self._pause is not None and is_full(error) and not self._stop.is_set():
                raise  # full for too long: the run ends
            log.error(
                "no checkpoint of train_step %d: %s; training goes on, older ones are kept",
                state["train_step"],
                error,
            )

    def _write_last(self, state: dict[str, Any], *, with_replay: bool) -> None:
        try:
            self._write(state, with_replay=with_replay)
        except OSError as error:
            if self._pause is None or not is_full(error):
                raise
            is_kept = self._reserve is not None and self._reserve.release()
            log.warning("%s%s", error, "; the room kept for this save is used" * is_kept)
            try:
                self._write_when_there_is_room(state, with_replay=with_replay)
            except OSError as still:
                if not (with_replay and is_full(still)):
                    raise
                log.warning("%s; the weights are saved without a snapshot of replay", still)
                self._write(state, with_replay=False)

    def _write_when_there_is_room(self, state: dict[str, Any], *, with_replay: bool = True) -> None:
        if self._pause is None:
            self._write(state, with_replay=with_replay)
            return
        self._pause.write(
            lambda: self._write(state, with_replay=with_replay),
            self._folder / "checkpoint",
            wanted=self._wanted(),
        )

    def _wanted(self) -> int:
        """Return the bytes that the next checkpoint and its snapshot are likely to need."""
        return self._newest_bytes + self._snapshot_bytes()

    def _write(self, state: dict[str, Any], *, with_replay: bool = True) -> None:
        self._check_lease()
        state["replay_snapshot"] = ""
        if with_replay and self._snapshot_replay is not None:
            try:
                state["replay_snapshot"] = self._snapshot_replay()
            except Exception as error:
                if is_full(error) and not self._stop.is_set():
                    raise
                # Weights without their data are worth more than nothing at all.
                is_known = isinstance(error, SnapshotFailed) or is_full(error)
                log.warning(
                    "checkpoint without a snapshot of replay: %s", error, exc_info=not is_known
                )
        path = save_checkpoint(
            self._folder,
            state["train_step"],
            state,
            keep=self._keep,
            check_lease=self._check_lease,
        )
        self._newest_bytes = path.stat().st_size
        log.info("saved %s", path)


def _copied(value: Any) -> Any:  # noqa: ANN401  a leaf of any type
    return value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value


def saver_of(run: RunInfo, lease: Lease, stop: StopSignal, pause: DiskPause) -> CheckpointSaver:
    """Return the saver of a run's checkpoints, each with a snapshot of replay."""

    def snapshot_replay() -> str:
        try:
            return request_snapshot(run.replay_address, timeout_s=_SNAPSHOT_S)
        finally:
            # Reverb does not notice: it answers that it has stored a snapshot of empty files.
            check_room(run.directory)

    def snapshot_bytes() -> int:
        return newest_size(run.directory / "replay-0")

    return CheckpointSaver(
        run.directory / "checkpoints",
        keep=run.config.learner.checkpoints_kept,
        stop=stop,
        pause=pause,
        reserve=Reserve(run.directory),
        snapshot_bytes=snapshot_bytes,
        # A deterministic run's steps are with its reanalyzer; it begins again, nothing is resumed.
        snapshot_replay=None if run.config.cluster.deterministic else snapshot_replay,
        check_lease=lease.check,
    )

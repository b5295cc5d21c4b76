"""Writes checkpoints in the background, each together with a snapshot of replay.

Used by the learner. Capturing a state takes a copy of the tensors; everything slow happens in a
thread. A checkpoint appears on disk only once replay has written its snapshot, which is taken
after the state: so replay holds every env_step that the checkpoint counts, but for the unfinished
ends of running episodes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map

from efficientzero.checkpoint import save_checkpoint
from efficientzero.guarded_thread import GuardedThread, guarded_thread
from efficientzero.runtime import StopSignal
from replay.snapshot_request import SnapshotFailed

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
        check_lease: Callable[[], None] = lambda: None,
    ) -> None:
        """Write into ``folder``.

        Args:
            folder: for the checkpoints.
            keep: the newest ones kept.
            stop: set when the thread fails.
            snapshot_replay: has replay write a snapshot and returns its name; raises what kept it.
            patience_s: how long a save that waits gives the one before it.
            check_lease: raises if the folder is another process's by now.
        """
        self._folder, self._keep, self._snapshot_replay = folder, keep, snapshot_replay
        self._stop = stop
        self._patience_s, self._check_lease = patience_s, check_lease
        self._thread: GuardedThread | None = None

    def save(self, state: dict[str, Any], *, wait: bool) -> bool:
        """Write ``state``, which holds its ``train_step``; return False if one is being written.

        Args:
            state: nested dicts and lists of tensors and plain values; copied before this returns.
            wait: return only when it is on disk.

        Raises:
            OSError: with ``wait``, the disk did not take it. Without, that is logged, and training
                goes on with the checkpoints that are there.
        """
        if not wait and self._is_writing():
            return False
        copied = tree_map(_copied, state)
        if wait:
            if self._thread is not None:
                self._thread.join(self._patience_s)
            # Two snapshots at once would delete each other's files.
            self._write(copied, with_replay=not self._is_writing())
            return True
        self._thread = guarded_thread(
            self._write_or_log, self._stop, name="checkpoint", args=(copied,)
        )
        return True

    def _is_writing(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _write_or_log(self, state: dict[str, Any]) -> None:
        try:
            self._write(state)
        except OSError as error:
            log.error(
                "no checkpoint of train_step %d: %s; training goes on, older ones are kept",
                state["train_step"],
                error,
            )

    def _write(self, state: dict[str, Any], *, with_replay: bool = True) -> None:
        self._check_lease()
        state["replay_snapshot"] = ""
        if not with_replay:
            log.warning(
                "checkpoint without a snapshot of replay: the one before is not written yet"
            )
        elif self._snapshot_replay is not None:
            try:
                state["replay_snapshot"] = self._snapshot_replay()
            except Exception as error:
                # Weights without their data are worth more than nothing at all.
                is_known = isinstance(error, SnapshotFailed)
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
        log.info("saved %s", path)


def _copied(value: Any) -> Any:  # noqa: ANN401  a leaf of any type
    return value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value

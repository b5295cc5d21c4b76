"""Asks the replay service for a snapshot of all its tables; called by the learner at checkpoints.

Only one at a time: two at once would delete each other's files.
"""

from __future__ import annotations

import time
from pathlib import PurePath

from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import StopSignal
from replay.driver import reverb_lite

_LOOK_S = 0.25


class SnapshotFailed(Exception):
    """Replay did not write a snapshot; the previous one is still there."""


def request_snapshot(address: str, *, timeout_s: float, give_up: StopSignal | None = None) -> str:
    """Have replay write a snapshot and return its name.

    Args:
        address: of the service.
        timeout_s: longest wait, seconds; Reverb's call itself has no limit and sees no signal.
        give_up: ends the wait early.

    Raises:
        SnapshotFailed: replay is away, its disk is full, or it took too long.
    """
    answers: list[str | Exception] = []

    def ask() -> None:
        try:
            answers.append(PurePath(reverb_lite.load().Client(address).checkpoint()).name)
        except Exception as error:
            answers.append(error)

    thread = guarded_thread(ask, give_up or StopSignal(), name="replay-snapshot")
    deadline = time.monotonic() + timeout_s
    while thread.is_alive():
        if time.monotonic() > deadline or (give_up is not None and give_up.is_set()):
            raise SnapshotFailed(f"no answer from replay at {address} after {timeout_s:.0f} s")
        thread.join(_LOOK_S)
    if not answers:
        raise SnapshotFailed(f"replay at {address}: the call ended without an answer")
    (answer,) = answers
    if isinstance(answer, Exception):
        raise SnapshotFailed(f"replay at {address}: {answer}") from answer
    return answer

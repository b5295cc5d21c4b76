"""Asks the replay service for a snapshot of all its tables; the learner does, with its own.

One at a time: two at once would delete each other's files.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor  # noqa: TID251  map raises what a call raised
from pathlib import PurePath

from efficientzero.guarded_thread import guarded_thread
from efficientzero.runtime import StopSignal
from replay import reverb_lite
from replay.info import is_listening

_LOOK_S = 0.25


class SnapshotFailed(Exception):
    """Replay did not write a snapshot; the one before is still there."""


def request_snapshots(addresses: Sequence[str], *, timeout_s: float) -> str:
    """Have every shard write a snapshot and return their names, by shard, commas between them.

    What the others wrote stays with them where one fails: each is restored from its newest. But
    no checkpoint names it, because not all that the checkpoint counts is in it.

    Raises:
        SnapshotFailed: at least one shard did not.
    """
    if len(addresses) == 1:
        return request_snapshot(addresses[0], timeout_s=timeout_s)

    def ask(address: str) -> str | SnapshotFailed:
        if not is_listening(address):
            return SnapshotFailed(f"replay at {address} is away")
        try:
            return request_snapshot(address, timeout_s=timeout_s)
        except SnapshotFailed as error:
            return error

    with ThreadPoolExecutor(len(addresses), "snapshots") as pool:
        answers = list(pool.map(ask, addresses))
    failed = [answer for answer in answers if isinstance(answer, SnapshotFailed)]
    if failed:
        raise SnapshotFailed("; ".join(map(str, failed)))
    return ",".join(map(str, answers))


def request_snapshot(address: str, *, timeout_s: float, give_up: StopSignal | None = None) -> str:
    """Have replay write a snapshot and return its name.

    Args:
        address: of the service.
        timeout_s: how long to wait; Reverb's call itself has no limit and sees no signal.
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

"""What the replay service counts, and waiting until it is there.

Every role waits with ``wait_until_ready`` before it opens its streams; the learner shows
``ReplayInfo`` in the run's status, and the service logs it.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from efficientzero.runtime import StopSignal, WaitReason
from replay import reverb_lite
from replay.tables import TRAINING_QUEUE, TRAJECTORIES


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayCounts:
    """The service's counters since it started."""

    num_steps: int
    """Steps (items) in the table now; an ``OrderedSampler`` takes them out."""
    steps_inserted: int
    """Steps ever inserted: one per env_step of every ended episode."""
    steps_sampled: int
    """Steps ever sent to a sampler, those that it never used included."""
    unique_steps_sampled: int
    """Of the steps ever inserted, those that were sent to a sampler at least once."""
    num_queued_batches: int
    """Training batches that wait for the learner."""
    batches_inserted: int
    """Training batches ever queued."""


class ReplayInfo:
    """Reads the service's counters (0.4 ms when it answers)."""

    def __init__(self, address: str) -> None:
        """Remember the address; returns at once, whether or not replay is up."""
        reverb = reverb_lite.load()
        self._client = reverb.Client(address)
        self._deadline_exceeded = reverb.DeadlineExceededError

    def read(self, *, timeout_s: int = 2) -> ReplayCounts | None:
        """Return the counters, or None if replay does not answer in ``timeout_s`` whole seconds."""
        if timeout_s < 1:
            raise ValueError(f"timeout_s: got {timeout_s}, wanted at least 1 (0 waits for ever)")
        try:
            tables = self._client.server_info(timeout_s)
        except (self._deadline_exceeded, RuntimeError):
            return None
        trajectories, training_queue = tables[TRAJECTORIES], tables[TRAINING_QUEUE]
        limits = trajectories.rate_limiter_info
        return ReplayCounts(
            num_steps=trajectories.current_size,
            steps_inserted=limits.insert_stats.completed,
            steps_sampled=limits.sample_stats.completed,
            unique_steps_sampled=trajectories.num_unique_samples,
            num_queued_batches=training_queue.current_size,
            batches_inserted=training_queue.rate_limiter_info.insert_stats.completed,
        )


def wait_until_ready(address: str, stop: StopSignal, *, timeout_s: float) -> bool:
    """Wait until the replay service answers.

    Returns:
        True when it does, False when a stop was asked for before.

    Raises:
        TimeoutError: It did not answer in time.
    """
    deadline = time.monotonic() + timeout_s
    reason = WaitReason(f"the replay service at {address}")
    # A plain connection first: Reverb's channel would back off for up to 30 s after failures.
    while not stop.is_set():
        if _is_listening(address) and ReplayInfo(address).read(timeout_s=1) is not None:
            return True
        if time.monotonic() > deadline:
            raise TimeoutError(f"no replay service at {address} after {timeout_s:.0f} s")
        reason.tick()
        stop.wait(0.1)
    return False


def _is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1.0):
            return True
    except OSError:
        return False

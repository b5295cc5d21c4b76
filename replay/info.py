"""The replay service's counters, and waiting until the service answers.

Every role calls ``wait_until_ready`` before it opens its streams; the learner shows ``ReplayInfo``
in the run's status, and the service logs it.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Any

from efficientzero.process.runtime import StopSignal, WaitReason
from replay.driver import reverb_lite
from replay.tables import STORED_STEPS, TRAINING_QUEUE, TRAJECTORIES_IN_USE

WAY_TO_RELAY = "unix-abstract:"
"""Prefix of an address that is a socket of this process's ``RelayClient``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayCounts:
    """The service's counters since it started."""

    num_steps: int = 0
    """Steps (items) in the table now; an ``OrderedSampler`` removes them."""
    num_episodes: int = 0
    """Episodes that these steps belong to."""
    steps_inserted: int = 0
    """Steps ever inserted: one per env_step of every ended episode."""
    steps_sampled: int = 0
    """Steps ever sent to a sampler, including those it never used."""
    unique_steps_sampled: int = 0
    """Of the steps ever inserted, those that were sent to a sampler at least once."""
    num_queued_batches: int = 0
    """Training batches that wait for the learner."""
    batches_inserted: int = 0
    """Training batches ever queued."""
    batches_taken: int = 0
    """Training batches the learner ever took."""
    steps_working_ms: int = 0
    """Total time that the steps' threads spent on inserting and sampling."""
    batches_working_ms: int = 0
    """Total working time of the training queue's thread."""
    waiting_ms: int = 0
    """Total idle time of all threads together."""
    num_tables: int = 2
    """Tables, each with a thread: steps, training batches and perhaps steps to refresh."""


class ReplayInfo:
    """Reads the service's counters (0.4 ms when it answers)."""

    def __init__(self, address: str) -> None:
        """Store the address; returns at once, whether or not replay is up."""
        reverb = reverb_lite.load()
        self._client = reverb.Client(address)
        self._deadline_exceeded = reverb.DeadlineExceededError
        self.problem = ""
        """Reason why the last reading failed; empty if it succeeded."""

    def read(self, *, timeout_s: int = 2) -> ReplayCounts | None:
        """Return the counters, or None if replay does not answer in ``timeout_s`` whole seconds."""
        if timeout_s < 1:
            raise ValueError(f"timeout_s: got {timeout_s}, wanted at least 1 (0 waits for ever)")
        try:
            tables = self._client.server_info(timeout_s)
        except (self._deadline_exceeded, RuntimeError) as error:
            self.problem = f"Reverb: {error}"
            return None
        self.problem = ""
        name_of_steps = next(name for name in TRAJECTORIES_IN_USE if name in tables)
        steps, batches = tables[name_of_steps], tables[TRAINING_QUEUE]
        steps_in_out, batches_in_out = steps.rate_limiter_info, batches.rate_limiter_info
        return ReplayCounts(
            num_steps=steps.current_size,
            num_episodes=steps.num_episodes,
            steps_inserted=steps_in_out.insert_stats.completed,
            steps_sampled=steps_in_out.sample_stats.completed,
            unique_steps_sampled=steps.num_unique_samples,
            num_queued_batches=batches.current_size,
            batches_inserted=batches_in_out.insert_stats.completed,
            batches_taken=batches_in_out.sample_stats.completed,
            steps_working_ms=sum(
                _working_ms(tables[name])
                for name in (name_of_steps, STORED_STEPS)
                if name in tables
            ),
            batches_working_ms=_working_ms(batches),
            waiting_ms=sum(map(_waiting_ms, tables.values())),
            num_tables=len(tables),
        )


def _working_ms(table: Any) -> int:  # noqa: ANN401  Reverb's TableInfo
    spent = table.table_worker_time
    return int(spent.running_ms + spent.sampling_ms + spent.inserting_ms)


def _waiting_ms(table: Any) -> int:  # noqa: ANN401  Reverb's TableInfo
    spent = table.table_worker_time
    return int(spent.sleeping_ms + spent.waiting_for_sampling_ms + spent.waiting_for_inserts_ms)


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
        problem = connection_problem(address)
        if not problem:
            info = ReplayInfo(address)
            if info.read(timeout_s=1) is not None:
                return True
            problem = info.problem
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"no replay service at {address} after {timeout_s:.0f} s ({problem})"
            )
        reason.tick(problem)
        stop.wait(0.1)
    return False


def steps_in_replay(address: str, *, timeout_s: int) -> int:
    """Return the env_steps ever inserted into replay, as restored.

    Raises:
        TimeoutError: no answer in ``timeout_s`` whole seconds.
    """
    counts = ReplayInfo(address).read(timeout_s=timeout_s)
    if counts is None:
        raise TimeoutError(f"replay at {address} answered and then did not for {timeout_s} s")
    return counts.steps_inserted


def connection_problem(address: str) -> str:
    """Return why no connection to ``address`` can be made, empty if one can, within a second."""
    try:
        if address.startswith(WAY_TO_RELAY):
            return _problem_behind_relay(address)
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=1.0):
            return ""
    except OSError as error:
        return str(error)


def _problem_behind_relay(address: str) -> str:
    """Return why replay sends nothing; behind a working relay its server speaks first."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        connection.connect("\0" + address.removeprefix(WAY_TO_RELAY))
        return "" if connection.recv(1) else "closed before replay said anything"

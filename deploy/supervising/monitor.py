"""Follows a run through the learner's status service, once a second, in a thread.

Started by the launcher; feeds the display, reports to the supervisor which roles may leave, and
keeps the last status for the summary. Knows no process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import grpc

from deploy.supervising.supervisor import Progress
from efficientzero.process.guarded_thread import GuardedThread
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.channel import AWAY, open_channel, reason_of
from efficientzero.rpc.stubs import run_pb2, run_pb2_grpc
from efficientzero.runs.run_folder import read_lines

log = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_ANSWER_TIMEOUT_S = 2.0
_COLLECTION_ENDED = (run_pb2.LAST_STEPS, run_pb2.FINISHED)

_CHANNEL_OPTIONS = (
    # The supervisor needs the state of a new run within two seconds. No retries: the next poll
    # is one.
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_retries", 0),
)

StatusSource = Callable[[], run_pb2.RunStatus]
"""Asks the learner; raises grpc.RpcError when it does not answer in time."""

StatusView = Callable[[run_pb2.RunStatus | None, float], None]
"""Shows the newest status and the seconds since the learner last answered."""


@contextmanager
def learner_status(address: str, credentials: Path | None = None) -> Iterator[StatusSource]:
    """Connect to the learner; ask without the retries that the roles' client makes.

    Args:
        address: of the learner.
        credentials: as ``open_channel`` takes them.
    """
    with open_channel(address, further=_CHANNEL_OPTIONS, credentials=credentials) as channel:
        stub = run_pb2_grpc.RunServiceStub(channel)

        def fetch() -> run_pb2.RunStatus:
            request = run_pb2.GetStatusRequest()
            status: run_pb2.RunStatus = stub.GetStatus(request, timeout=_ANSWER_TIMEOUT_S)
            return status

        yield fetch


class RunMonitor:
    """Polls until closed. Use as a context manager."""

    def __init__(
        self,
        fetch: StatusSource,
        *,
        evaluations_path: Path,
        show: StatusView,
        stop: StopSignal,
        until_evaluated: bool = False,
    ) -> None:
        """Begin with ``__enter__``.

        Args:
            fetch: asks the learner.
            evaluations_path: where the learner writes results.
            show: called with every status.
            stop: of the launcher; set when the thread fails.
            until_evaluated: the run goes on until the final evaluation came from elsewhere.
        """
        self._until_evaluated = until_evaluated
        self._fetch = fetch
        self._evaluations_path = evaluations_path
        self._show = show
        self._closed = threading.Event()
        self._has_finished = self._is_evaluated = False
        self._answered_at = 0.0
        self._refusals: set[grpc.StatusCode | None] = set()
        self.last_status: run_pb2.RunStatus | None = None
        self._thread = GuardedThread(self._follow, stop, name="monitor")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed.set()
        self._thread.join(5.0)

    def progress(self) -> Progress:
        """Return the newest known progress at once."""
        status = self.last_status
        has_ended = status is not None and status.phase in _COLLECTION_ENDED
        return Progress(
            collection_has_ended=has_ended or self._has_finished,
            has_finished=self._has_finished,
            is_evaluated=self._is_evaluated,
        )

    def poll(self) -> None:
        """Ask once, note the answer and show it."""
        try:
            self.last_status = self._fetch()
            self._answered_at = time.monotonic()
            silent_s = 0.0
        except grpc.RpcError as error:
            silent_s = time.monotonic() - self._answered_at
            self._note_refusal(error)
        self._is_evaluated = self._is_evaluated or self._sees_the_final_evaluation()
        self._has_finished = self._has_finished or self._sees_the_end()
        self._show(self.last_status, silent_s)

    def _note_refusal(self, error: grpc.RpcError) -> None:
        """Log once the learner's error instead of a status; silence is shown anyway."""
        code = error.code() if isinstance(error, grpc.Call) else None
        if code not in AWAY and code not in self._refusals:
            self._refusals.add(code)
            log.warning("the learner gives no status: %s", reason_of(error))

    def _sees_the_final_evaluation(self) -> bool:
        if self.last_status is not None and self.last_status.final_evaluation_received:
            return True
        # A learner that leaves right after the final evaluation may never have been asked since.
        evaluations = read_lines(self._evaluations_path, is_written=True)
        return any(known.get("is_final") for known in evaluations)

    def _sees_the_end(self) -> bool:
        status = self.last_status
        has_trained = status is not None and status.phase == run_pb2.FINISHED
        return self._is_evaluated or (has_trained and not self._until_evaluated)

    def _follow(self) -> None:
        while not self._closed.wait(_INTERVAL_S):
            self.poll()

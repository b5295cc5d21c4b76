"""A worker's place in a run: kept by heartbeats, given back.

Used by ``worker``. The learner may not be there yet, or be away for a while. The heartbeats carry
the rate and the waits of the role's loop, read from its ``Pulse``.
"""

from __future__ import annotations

import logging
import threading
import time

import grpc

from efficientzero.metrics import NO_VITALS, Pulse
from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.process_seconds import WANDB_SECONDS
from efficientzero.process.runtime import PlainError, StopSignal
from efficientzero.rpc.channel import open_channel, reason_of
from efficientzero.rpc.stubs import cluster_pb2, cluster_pb2_grpc
from efficientzero.runs.run_folder import RunInfo
from efficientzero.worker.joining import CALL_S, JoinRefused, LearnerAway, status_code

HEARTBEAT_S = 2.0

_SILENCE_S = 180.0  # as long as the run client waits for a learner that starts again
_LEAVE_S = 2.0

log = logging.getLogger(__name__)


class PlaceLost(PlainError):
    """The learner gave this process's place to another; a new start gets a new one."""


class Membership:
    """Sends the learner a heartbeat every two seconds. Use as a context manager."""

    def __init__(
        self,
        run: RunInfo,
        seat: cluster_pb2.Seat,
        stop: StopSignal,
        *,
        silence_s: float = _SILENCE_S,
    ) -> None:
        """Begin at once, in a thread; the learner need not run yet.

        Args:
            run: the run.
            seat: the place, given by ``join`` or by the launcher.
            stop: set when the run is over, the place is lost or the learner stays away.
            silence_s: seconds that the learner may stay away.
        """
        self._run, self._seat, self._stop, self._silence_s = run, seat, stop, silence_s
        self._pulse: Pulse | None = None
        self._failure: PlainError | None = None
        self._channel = open_channel(run.learner_address)
        self._stub = cluster_pb2_grpc.ClusterServiceStub(self._channel)
        self._closed = threading.Event()
        self._thread = guarded_thread(self._beat_on, stop, name="heartbeat")

    def follow(self, pulse: Pulse) -> None:
        """Report this loop's rate and waits from now on."""
        self._pulse = pulse

    def check(self) -> None:
        """Raise the error that ended the membership, if there was one."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Give the place back, if the learner answers."""
        self._closed.set()
        self._thread.join(CALL_S + HEARTBEAT_S)
        if self._failure is None:
            try:
                self._stub.Leave(cluster_pb2.LeaveRequest(seat=self._seat), timeout=_LEAVE_S)
            except grpc.RpcError as error:
                log.debug("not reported to the learner: %s", reason_of(error))
        self._channel.close()

    def _beat_on(self) -> None:
        heard_at, address = time.monotonic(), self._run.learner_address
        while not self._closed.wait(HEARTBEAT_S if self._pulse else HEARTBEAT_S / 4):
            try:
                reply = self._stub.Heartbeat(self._heartbeat(), timeout=CALL_S)
                heard_at = time.monotonic()
                if reply.has_finished and not self._stop.is_set():
                    self._stop.set("the run is finished")
            except grpc.RpcError as error:
                self._note(error, address, time.monotonic() - heard_at)
            except Exception:
                # Nothing above this thread sees its errors, and without it the place is soon lost.
                log.exception("no heartbeat can be sent")
                self._fail(PlaceLost("this process cannot send heartbeats any more"))
            if self._failure is not None:
                return

    def _heartbeat(self) -> cluster_pb2.HeartbeatRequest:
        vitals = self._pulse.vitals() if self._pulse else NO_VITALS
        return cluster_pb2.HeartbeatRequest(
            seat=self._seat,
            run_uid=self._run.run_uid,
            config_hash=self._run.config_hash,
            cpu_seconds=time.process_time(),
            wandb_cpu_seconds=WANDB_SECONDS.read(),
            **vitals._asdict(),
        )

    def _note(self, error: grpc.RpcError, address: str, silent_s: float) -> None:
        if status_code(error) is grpc.StatusCode.FAILED_PRECONDITION:
            self._fail(PlaceLost(f"learner at {address}: {error.details()}"))
        elif status_code(error) is grpc.StatusCode.UNAUTHENTICATED:
            self._fail(JoinRefused(f"learner at {address}: {error.details()}"))
        elif silent_s > self._silence_s:
            why = reason_of(error)
            self._fail(LearnerAway(f"learner at {address} is away for {silent_s:.0f} s ({why})"))

    def _fail(self, failure: PlainError) -> None:
        self._failure = failure
        self._stop.set(str(failure))

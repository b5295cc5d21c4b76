"""A worker's place in a run: asked for, kept by heartbeats, given back.

Used by ``worker``. The learner may not be there yet, or be away for a while. The heartbeats carry
the rate and the waits of the role's loop, read from its ``Pulse``.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import socket
import threading
import time
from pathlib import Path

import grpc

from efficientzero.metrics import (
    NO_VITALS,
    Pulse,
    check_environment,
    check_wandb_name,
    resolve_mode,
)
from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.process_seconds import WANDB_SECONDS
from efficientzero.process.runtime import (
    PlainError,
    StopSignal,
    WaitReason,
)
from efficientzero.rpc.channel import (
    EXPIRED,
    NOT_YET_VALID,
    credentials_problem,
    open_channel,
    reason_of,
)
from efficientzero.rpc.place_proofs import PlaceProofs
from efficientzero.rpc.protocol import PROTOCOL, installed_versions
from efficientzero.rpc.stubs import (
    cluster_pb2,
    cluster_pb2_grpc,
)
from efficientzero.runs.run_folder import (
    RELAYED,
    RunInfo,
    check_run_id,
)

HEARTBEAT_S = 2.0

_JOIN_PATIENCE_S = 300.0
_SILENCE_S = 180.0  # as long as the run client waits for a learner that starts again
_CALL_S = 5.0
_RETRY_S = 1.0
_LEAVE_S = 2.0

_FOREIGN_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")
_NOT_TLS = ("WRONG_VERSION_NUMBER",)
_FOR_GOOD = (
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
)

log = logging.getLogger(__name__)


class JoinRefused(PlainError):
    """The learner refuses this process, and would refuse it again."""

    is_permanent = True


class LearnerAway(PlainError):
    """The learner did not answer within the time that a worker waits."""


class PlaceLost(PlainError):
    """The learner gave this process's place to another; a new start gets a new one."""


class RunFinished(Exception):
    """There is nothing left to do in the run."""


def new_seat(role: str, index: int = 0, incarnation: int = 0) -> cluster_pb2.Seat:
    """Return this process's identity for the learner."""
    return cluster_pb2.Seat(
        role=role,
        index=index,
        incarnation=incarnation,
        member=secrets.randbits(62) + 1,  # identifies the process; no part of the seed tree
        host=socket.gethostname(),
        pid=os.getpid(),
    )


def seat_in(run: RunInfo, role: str, index: int, incarnation: int = 0) -> cluster_pb2.Seat:
    """Return this process's identity in a given place, proved with the run folder's secret.

    Raises:
        OSError: the disk is full, and there is no secret yet.
        PlaceSecretError: this process cannot read the secret.
    """
    seat = new_seat(role, index, incarnation)
    proofs = PlaceProofs(run.directory, run.run_uid)
    seat.proof = proofs.proof(role, index, incarnation, seat.member)
    return seat


def join(
    address: str,
    role: str,
    stop: StopSignal,
    *,
    runs_dir: Path,
    patience_s: float = _JOIN_PATIENCE_S,
) -> tuple[RunInfo, cluster_pb2.Seat] | None:
    """Ask the learner at ``host:port`` for a place and the run's configuration.

    Args:
        address: of the learner, which need not run yet; its name need not resolve yet.
        role: actor, reanalyzer or evaluator.
        stop: ends the wait.
        runs_dir: this host's folder for the run's folder, where its processes write.
        patience_s: longest wait for the learner, seconds.

    Returns:
        The run as this host sees it, and the place; None on stop.

    Raises:
        JoinRefused: other versions, another config, no or other credentials.
        LearnerAway: no place in ``patience_s``.
        RunFinished: the run is over.
    """
    seat = new_seat(role)
    request = cluster_pb2.JoinRequest(protocol=PROTOCOL, seat=seat, versions=installed_versions())
    reason, why = WaitReason(f"a place in the run of the learner at {address}", after_s=5.0), ""
    deadline = time.monotonic() + patience_s
    with open_channel(address) as channel:
        stub = cluster_pb2_grpc.ClusterServiceStub(channel)
        while not stop.is_set():
            try:
                reply = stub.Join(request, timeout=_CALL_S)
                break
            except grpc.RpcError as error:
                _check_retry(error, address)
                why = reason_of(error)
            if time.monotonic() >= deadline:
                raise LearnerAway(f"no place from the learner at {address} ({why})")
            reason.tick(why)
            stop.wait(_RETRY_S)
        else:
            return None
    if reply.has_finished:
        raise RunFinished
    seat.index, seat.incarnation, seat.proof = reply.index, reply.incarnation, reply.proof
    return _run_seen_from_here(reply, address, runs_dir), seat


def _run_seen_from_here(reply: cluster_pb2.JoinReply, address: str, runs_dir: Path) -> RunInfo:
    try:
        run = RunInfo.from_json(reply.run_file, f"the learner at {address}")
        _check_names(run)
    except ValueError as error:
        raise JoinRefused(str(error)) from error
    host = reply.replay_host or address.rpartition(":")[0]
    is_relayed = run.config.cluster.has_relay
    port = run.relay_port if is_relayed else run.replay_address.rpartition(":")[2]
    mode = run.tracking_mode
    return dataclasses.replace(
        run,
        directory=runs_dir.resolve() / run.run_id,
        learner_address=address,
        replay_address=f"{RELAYED if is_relayed else ''}{host}:{port}",
        # Credentials are this host's own matter.
        tracking_mode=resolve_mode("auto").mode if mode == "online" else mode,
    )


def _check_names(run: RunInfo) -> None:
    """Check the folder's name and wandb's, which a learner of another version may accept.

    Raises:
        ValueError: one of them cannot be used here.
    """
    try:
        check_run_id(run.run_id)
    except ValueError as error:
        raise ValueError(f"the run's id: {error}") from error
    if run.tracking_mode != "disabled":
        check_wandb_name("entity", run.config.tracking.entity)
        check_wandb_name("project", run.config.tracking.project)
        check_environment()


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
        self._thread.join(_CALL_S + HEARTBEAT_S)
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
                reply = self._stub.Heartbeat(self._heartbeat(), timeout=_CALL_S)
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
        if _code(error) is grpc.StatusCode.FAILED_PRECONDITION:
            self._fail(PlaceLost(f"learner at {address}: {error.details()}"))
        elif _code(error) is grpc.StatusCode.UNAUTHENTICATED:
            self._fail(JoinRefused(f"learner at {address}: {error.details()}"))
        elif silent_s > self._silence_s:
            why = reason_of(error)
            self._fail(LearnerAway(f"learner at {address} is away for {silent_s:.0f} s ({why})"))

    def _fail(self, failure: PlainError) -> None:
        self._failure = failure
        self._stop.set(str(failure))


def _check_retry(error: grpc.RpcError, address: str) -> None:
    """Raise JoinRefused unless a later try may succeed."""
    text = reason_of(error)
    if EXPIRED in text:
        raise JoinRefused(f"learner at {address}: a certificate has expired ({text})")
    if NOT_YET_VALID in text:
        raise JoinRefused(f"learner at {address}: a certificate is not valid yet ({text})")
    if any(sign in text for sign in _FOREIGN_CERTIFICATE):
        raise JoinRefused(
            f"learner at {address}: its certificate is not of this cluster's CA, or not of this "
            f"host name ({text})"
        )
    if any(sign in text for sign in _NOT_TLS):
        raise JoinRefused(
            f"learner at {address}: it speaks no TLS; got credentials here, wanted them there too "
            f"({text})"
        )
    if _code(error) is grpc.StatusCode.UNAVAILABLE and (missing := credentials_problem(address)):
        raise JoinRefused(missing)
    if _code(error) in _FOR_GOOD:
        details = error.details() if isinstance(error, grpc.Call) else text
        raise JoinRefused(f"learner at {address} refused: {details}")


def _code(error: grpc.RpcError) -> grpc.StatusCode | None:
    return error.code() if isinstance(error, grpc.Call) else None

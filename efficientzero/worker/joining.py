"""How a worker gets its place in a run: from the learner, or from the launcher.

Used by ``worker``. The learner may not be there yet, nor its name resolve.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
import time
from pathlib import Path

import grpc

from efficientzero.metrics import check_environment, check_wandb_name, resolve_mode
from efficientzero.process.runtime import PlainError, StopSignal, WaitReason
from efficientzero.rpc.channel import (
    EXPIRED,
    NOT_YET_VALID,
    credentials_problem,
    open_channel,
    reason_of,
)
from efficientzero.rpc.place_proofs import PlaceProofs
from efficientzero.rpc.protocol import PROTOCOL, installed_versions
from efficientzero.rpc.stubs import cluster_pb2, cluster_pb2_grpc
from efficientzero.runs.run_folder import RELAYED, RunInfo, check_run_id

CALL_S = 5.0

_JOIN_PATIENCE_S = 300.0
_RETRY_S = 1.0

_FOREIGN_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")
_NOT_TLS = ("WRONG_VERSION_NUMBER",)
_FOR_GOOD = (
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
)


class JoinRefused(PlainError):
    """The learner will never take this process as it is."""

    is_permanent = True


class LearnerAway(PlainError):
    """The learner did not answer for as long as a worker waits."""


class RunFinished(Exception):
    """There is nothing left to do in the run."""


def new_seat(role: str, index: int = 0, incarnation: int = 0) -> cluster_pb2.Seat:
    """Return the description of this process for the learner."""
    return cluster_pb2.Seat(
        role=role,
        index=index,
        incarnation=incarnation,
        member=secrets.randbits(62) + 1,  # distinguishes processes; no part of the seed tree
        host=socket.gethostname(),
        pid=os.getpid(),
    )


def seat_in(run: RunInfo, role: str, index: int, incarnation: int = 0) -> cluster_pb2.Seat:
    """Return this process in a place that it has without asking, by the run folder's secret.

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
    """Ask the learner at ``host:port`` for a place and all there is to know.

    Args:
        address: of the learner, which need not be there yet, nor its name resolve.
        role: actor, reanalyzer or evaluator.
        stop: ends the wait.
        runs_dir: where this host keeps the run's folder, for what its processes write.
        patience_s: seconds to wait for the learner at most.

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
                reply = stub.Join(request, timeout=CALL_S)
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
        # Each host has its own credentials.
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
    if status_code(error) is grpc.StatusCode.UNAVAILABLE and (
        missing := credentials_problem(address)
    ):
        raise JoinRefused(missing)
    if status_code(error) in _FOR_GOOD:
        details = error.details() if isinstance(error, grpc.Call) else text
        raise JoinRefused(f"learner at {address} refused: {details}")


def status_code(error: grpc.RpcError) -> grpc.StatusCode | None:
    """Return the code that the call ended with, None if it was never made."""
    return error.code() if isinstance(error, grpc.Call) else None

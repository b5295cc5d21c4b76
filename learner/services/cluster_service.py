"""The cluster service: joining, heartbeats, leaving, and the list of a run's processes.

Checks requests and passes them to the roster.
"""

from __future__ import annotations

import dataclasses
import logging

import grpc

from efficientzero.metrics import Vitals
from efficientzero.rpc.place_proofs import PlaceProofs
from efficientzero.rpc.protocol import PROTOCOL, different_versions
from efficientzero.rpc.stubs import cluster_pb2, cluster_pb2_grpc
from efficientzero.rpc.texts import clean
from efficientzero.runs.results.cpu_seconds import WANDB, CpuSeconds
from efficientzero.runs.run_folder import RunInfo
from learner.cluster import (
    MOST_PLACES,
    ONLY_ONE,
    ClusterWatch,
    NoPlace,
    PlaceLost,
    ProcessState,
    Roster,
    Seat,
)
from learner.services.call_refused import CallRefused

_ROLES = ("actor", "reanalyzer", "evaluator")
_FASTEST = 1e12
"""Largest rate accepted; no process does more work per second, and larger sums could overflow."""
_LONGEST_S = 1e12
_HIGHEST = 1 << 31

log = logging.getLogger(__name__)


class ClusterServicer(cluster_pb2_grpc.ClusterServiceServicer):
    """Answers from the roster and the watch."""

    def __init__(
        self,
        run: RunInfo,
        roster: Roster,
        watch: ClusterWatch,
        cpu_seconds: CpuSeconds | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            run: sent to joining workers.
            roster: gives places.
            watch: lists processes and has the end of the run.
            cpu_seconds: gets workers' CPU-seconds.

        Raises:
            OSError: the disk is full, so that the secret cannot be made.
            PlaceSecretError: the run folder's secret can neither be read nor made.
        """
        self._run, self._roster, self._watch = run, roster, watch
        self._cpu_seconds = cpu_seconds
        self._run_file = run.to_json()
        self._proofs = PlaceProofs(run.directory, run.run_uid)

    def Join(  # noqa: N802  named by the contract
        self, request: cluster_pb2.JoinRequest, context: grpc.ServicerContext
    ) -> cluster_pb2.JoinReply:
        """Give a place."""
        wish = _seat(request.seat)
        if request.protocol != PROTOCOL:
            raise _never(f"protocol: got {request.protocol}, wanted {PROTOCOL}")
        different = different_versions(self._run.versions, request.versions)
        if different:
            raise _never(different)
        if self._run.config.cluster.deterministic:
            raise _never("got a wish to join, wanted none: the run is deterministic")
        if self._watch.is_complete():
            return cluster_pb2.JoinReply(has_finished=True)
        try:
            seat = self._roster.join(wish)
        except PlaceLost as error:
            raise _never(str(error)) from error
        except NoPlace as error:
            raise CallRefused(str(error), grpc.StatusCode.UNAVAILABLE) from error
        return cluster_pb2.JoinReply(
            index=seat.index,
            incarnation=seat.incarnation,
            proof=self._proofs.proof(seat.role, seat.index, seat.incarnation, seat.member),
            run_file=self._run_file,
            replay_host=self._run.config.cluster.replay_host,
        )

    def Heartbeat(  # noqa: N802
        self, request: cluster_pb2.HeartbeatRequest, context: grpc.ServicerContext
    ) -> cluster_pb2.HeartbeatReply:
        """Note a sign of life."""
        run, seat = self._run, _seat(request.seat)
        if (request.run_uid, request.config_hash) != (run.run_uid, run.config_hash):
            raise _never(
                f"{seat.name}: got run {request.run_uid} with config {request.config_hash}, "
                f"wanted run {run.run_uid} with config {run.config_hash}",
            )
        proof = request.seat.proof
        if not self._proofs.fits(proof, seat.role, seat.index, seat.incarnation, seat.member):
            raise _never(
                f"{seat.name}: got no proof that this process may have the place, wanted the one "
                "that Join gives or the run folder's secret makes",
            )
        vitals = _vitals(request)
        spent_s = {
            seat.role: _cpu_seconds("cpu_seconds", request.cpu_seconds),
            WANDB: _cpu_seconds("wandb_cpu_seconds", request.wandb_cpu_seconds),
        }
        try:
            self._roster.beat(seat, vitals)
        except PlaceLost as error:
            raise _never(str(error)) from error
        if self._cpu_seconds is not None:
            for role, seconds in spent_s.items():
                self._cpu_seconds.note(role, seat.member, seconds)
        return cluster_pb2.HeartbeatReply(has_finished=self._has_finished(seat))

    def Leave(  # noqa: N802
        self, request: cluster_pb2.LeaveRequest, context: grpc.ServicerContext
    ) -> cluster_pb2.LeaveReply:
        """Empty a place."""
        self._roster.leave(_seat(request.seat))
        return cluster_pb2.LeaveReply()

    def GetCluster(  # noqa: N802
        self, request: cluster_pb2.GetClusterRequest, context: grpc.ServicerContext
    ) -> cluster_pb2.Cluster:
        """List the run's processes."""
        del request, context
        processes = [_process_status(process) for process in self._watch.processes()]
        watch = self._watch
        return cluster_pb2.Cluster(processes=processes, cause=watch.cause, warnings=watch.warnings)

    def cause(self) -> str:
        """Return why the learner waits; empty while nothing stalls."""
        return self._watch.cause

    def _has_finished(self, seat: Seat) -> bool:
        """Return whether there is nothing left to do for this role."""
        if seat.role == "reanalyzer":
            return self._watch.is_complete() or self._watch.awaits_evaluation()
        return self._watch.is_complete()


def _never(reason: str) -> CallRefused:
    """Return a refusal after which a worker does not try again."""
    return CallRefused(reason, grpc.StatusCode.FAILED_PRECONDITION)


def _seat(seat: cluster_pb2.Seat) -> Seat:
    numbers = (seat.index, seat.incarnation, seat.pid)
    is_sound = seat.role in _ROLES
    is_sound &= seat.index < (1 if seat.role in ONLY_ONE else MOST_PLACES)
    if not is_sound or not all(0 <= number < _HIGHEST for number in numbers) or not seat.member:
        raise CallRefused(
            f"seat: got {seat.role!r} {numbers}, wanted one of {_ROLES}, none negative, an index "
            f"below {MOST_PLACES:,} (of {ONLY_ONE} 0)",
        )
    host = clean(seat.host)
    return Seat(seat.role, seat.index, seat.incarnation, seat.member, host, seat.pid)


def _vitals(request: cluster_pb2.HeartbeatRequest) -> Vitals:
    texts = (clean(request.rate_unit), clean(request.waiting_for))
    numbers = (request.rate, request.busy, request.weights_train_step)
    # NaN fails, too.
    if not (0.0 <= numbers[0] <= _FASTEST and 0.0 <= numbers[1] <= 1.0):
        raise CallRefused(f"rate, busy: got {numbers[:2]}, wanted 0 to {_FASTEST:g}, 0 to 1")
    if not -1 <= numbers[2] < _HIGHEST:
        raise CallRefused(f"weights_train_step: got {numbers[2]}, wanted -1 or more")
    return Vitals(request.rate, *texts, request.busy, request.weights_train_step)


def _cpu_seconds(name: str, seconds: float) -> float:
    if not 0.0 <= seconds <= _LONGEST_S:  # NaN fails, too
        raise CallRefused(f"{name}: got {seconds}, wanted 0 to {_LONGEST_S:g}")
    return seconds


def _process_status(process: ProcessState) -> cluster_pb2.ProcessStatus:
    seat, vitals = process.member.seat, process.member.vitals
    return cluster_pb2.ProcessStatus(
        # Without the member number, with which a process proves that it has the place.
        seat=cluster_pb2.Seat(**dataclasses.asdict(dataclasses.replace(seat, member=0))),
        state=process.state,
        heartbeat_age_s=process.age_s,
        **vitals._asdict(),
    )

"""What somebody with the workers' token does to a running run: nothing that it would feel."""

from __future__ import annotations

import time

import grpc

from efficientzero.rpc.channel import open_channel
from efficientzero.rpc.credentials import LOCAL_FOLDER, read_token
from efficientzero.rpc.stubs import cluster_pb2, cluster_pb2_grpc, run_pb2, run_pb2_grpc
from efficientzero.worker.joining import new_seat
from learner.cluster.roster import FIRST_JOINED_INCARNATION
from tests.chaos.site import Site
from tests.support.half_open import check_answers_are_prompt, half_open_calls

_CALLS = 1_200
_HELD_S = 5.0
_REPORTS, _MOST_LINES = 500, 10
_REFUSED = "refused a call of"
_ANSWER_S = 30.0


def _channel(site: Site) -> grpc.Channel:
    credentials = site.run.directory / LOCAL_FOLDER
    return open_channel(site.run.config["learner_address"], credentials=credentials)


def steal_places(site: Site) -> None:
    """Claim the place of every worker, as one that its launcher has started again would."""
    config = site.run.config
    with _channel(site) as channel:
        stub = cluster_pb2_grpc.ClusterServiceStub(channel)
        workers = [seat for seat in _seats(stub) if seat.role not in ("learner", "replay")]
        for known in workers:
            seat = new_seat(known.role, known.index, FIRST_JOINED_INCARNATION - 1)
            request = cluster_pb2.HeartbeatRequest(
                seat=seat, run_uid=config["run_uid"], config_hash=config["config_hash"]
            )
            try:
                stub.Heartbeat(request, timeout=_ANSWER_S)
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, error
            else:
                raise AssertionError(f"the place of {known.role}-{known.index} was given away")
        time.sleep(_HELD_S)  # who had lost it would have ended by now
        after = {(seat.role, seat.index, seat.pid) for seat in _seats(stub)}
    for known in workers:
        assert (known.role, known.index, known.pid) in after, f"{known.role} lost its place"


def _seats(stub: cluster_pb2_grpc.ClusterServiceStub) -> list[cluster_pb2.Seat]:
    cluster = stub.GetCluster(cluster_pb2.GetClusterRequest(), timeout=_ANSWER_S)
    return [process.seat for process in cluster.processes]


def hold_half_open_calls(site: Site) -> None:
    """Hold more calls with the token than the learner has threads, without a message."""
    credentials = site.run.directory / LOCAL_FOLDER
    address = site.run.config["learner_address"]
    with half_open_calls(address, _CALLS, read_token(credentials)):
        until = time.monotonic() + _HELD_S
        while time.monotonic() < until:
            check_answers_are_prompt(address, credentials)


def report_what_is_not_so(site: Site) -> None:
    """Report games of a place that is another's, many times, each with other numbers."""
    before = site.run.output.count(_REFUSED)
    with _channel(site) as channel:
        stub = run_pb2_grpc.RunServiceStub(channel)
        for number in range(_REPORTS):
            request = run_pb2.ReportEpisodesRequest(actor_index=-1 - number, member=7)
            try:
                stub.ReportEpisodes(request, timeout=_ANSWER_S)
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error
            else:
                raise AssertionError("a false report was taken")
    lines = site.run.output.count(_REFUSED) - before
    assert lines <= _MOST_LINES, f"{_REPORTS} false reports cost {lines} lines of the log"

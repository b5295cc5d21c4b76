"""A place in a run is taken by nobody but the worker whose it is, whatever else has the token."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from efficientzero.process.runtime import StopSignal
from efficientzero.rpc import place_proofs
from efficientzero.rpc.channel import open_channel
from efficientzero.rpc.place_proofs import SECRET_FILE, PlaceProofs, PlaceSecretError
from efficientzero.rpc.stubs import cluster_pb2, cluster_pb2_grpc
from efficientzero.worker.joining import join, new_seat, seat_in
from learner.cluster.roster import FIRST_JOINED_INCARNATION
from tests.integration.many_hosts.test_joining import Learner

HIGHEST = FIRST_JOINED_INCARNATION - 1
ROLES = ["actor", "reanalyzer", "evaluator"]


@pytest.fixture
def start(tmp_path):
    learners = []

    def start_learner(address="127.0.0.1:0"):
        learners.append(Learner(tmp_path, address=address))
        return learners[-1]

    yield start_learner
    for learner in learners:
        learner.server.close(0.0)


def beat(learner, seat) -> str:
    """Send a heartbeat; return why it was refused, or an empty string."""
    request = cluster_pb2.HeartbeatRequest(
        seat=seat,
        run_uid=learner.run.run_uid,
        config_hash=learner.run.config_hash,
        rate=1.0,
        busy=0.5,
    )
    with open_channel(learner.address) as channel:
        try:
            cluster_pb2_grpc.ClusterServiceStub(channel).Heartbeat(request, timeout=60.0)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
            return error.details()
    return ""


def joined(learner, role):
    return join(learner.address, role, StopSignal(), runs_dir=Path("runs"), patience_s=60.0)[1]


def thefts(learner, place):
    """Return heartbeats for another's place by one who has the token and has joined himself."""
    own = joined(learner, "actor" if place.role != "actor" else "reanalyzer")
    for incarnation in (place.incarnation, place.incarnation + 1, HIGHEST, 2 * HIGHEST):
        for proof in (b"", own.proof, place.proof, b"\xff" * 32):
            seat = new_seat(place.role, place.index, incarnation)
            seat.proof = proof
            yield seat


def held_by(learner, place) -> bool:
    return learner.roster.holds(place.role, place.index, place.member)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("has_joined", [False, True], ids=["launched", "joined"])
def test_place_of_a_living_worker_is_taken_by_nobody(start, role, has_joined):
    learner = start()
    place = joined(learner, role) if has_joined else seat_in(learner.run, role, 0)
    assert beat(learner, place) == ""
    for theft in thefts(learner, place):
        assert "got no proof" in beat(learner, theft)
    assert held_by(learner, place)
    assert beat(learner, place) == ""


@pytest.mark.parametrize("has_joined", [False, True], ids=["launched", "joined"])
def test_nor_before_a_new_learner_has_heard_of_it(start, has_joined):
    first = start()
    place = joined(first, "actor") if has_joined else seat_in(first.run, "actor", 0)
    first.server.close(0.0)
    second = start(first.address)
    for theft in thefts(second, place):
        assert "got no proof" in beat(second, theft)
    assert beat(second, place) == ""
    assert held_by(second, place)


def test_worker_that_its_launcher_starts_again_has_its_place_at_once(start):
    learner = start()
    assert beat(learner, seat_in(learner.run, "actor", 0)) == ""
    successor = seat_in(learner.run, "actor", 0, 1)
    assert beat(learner, successor) == ""
    assert held_by(learner, successor)
    # By hand, without a number of its own.
    assert "has this place" in beat(learner, seat_in(learner.run, "actor", 0, 1))
    assert held_by(learner, successor)


def test_proofs_are_never_sent_to_others(start):
    learner = start()
    beat(learner, seat_in(learner.run, "actor", 0))
    with open_channel(learner.address) as channel:
        cluster = cluster_pb2_grpc.ClusterServiceStub(channel).GetCluster(
            cluster_pb2.GetClusterRequest(), timeout=60.0
        )
    assert {process.seat.proof for process in cluster.processes} == {b""}


PLACE = ("actor", 0, 0, 77)


def test_all_processes_of_a_run_make_one_secret_for_their_user_alone(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        proofs = list(pool.map(lambda _: PlaceProofs(tmp_path, "run").proof(*PLACE), range(32)))
    assert len(set(proofs)) == 1
    assert stat.S_IMODE((tmp_path / SECRET_FILE).stat().st_mode) == 0o600


def test_a_proof_is_of_one_run_and_one_process(tmp_path):
    proofs = PlaceProofs(tmp_path, "run")
    proof = proofs.proof(*PLACE)
    assert proofs.fits(proof, *PLACE)
    assert not PlaceProofs(tmp_path, "copy").fits(proof, *PLACE)
    for other in (("evaluator", 0, 0, 77), ("actor", 1, 0, 77), ("actor", 0, 1, 77)):
        assert not proofs.fits(proof, *other)
    assert not proofs.fits(proof, "actor", 0, 0, 78)


@pytest.mark.parametrize("torn", [b"", b"00" * 31, b"\xff" * 65])
def test_a_secret_that_a_crash_has_torn_is_made_again(tmp_path, monkeypatch, torn):
    monkeypatch.setattr(place_proofs, "_WRITING_S", 0.0)
    (tmp_path / SECRET_FILE).write_bytes(torn)
    proofs = PlaceProofs(tmp_path, "run")
    assert PlaceProofs(tmp_path, "run").fits(proofs.proof(*PLACE), *PLACE)


def test_without_the_run_folder_one_line_says_so(tmp_path):
    with pytest.raises(PlaceSecretError, match="wanted the secret of the run's places, or --join"):
        PlaceProofs(tmp_path / "absent", "run")

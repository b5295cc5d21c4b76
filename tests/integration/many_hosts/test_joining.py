"""Joining a learner's run over real gRPC, and every way to be refused."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from deploy.launching.tokens import make_local_credentials
from deploy.supervising import status
from efficientzero.config.fields import ActorConfig, BudgetConfig, ClusterConfig, Config
from efficientzero.metrics.pulse import NO_VITALS, Pulse, Vitals
from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc import protocol
from efficientzero.rpc.channel import open_channel
from efficientzero.rpc.credentials import (
    CREDENTIALS_VARIABLE,
    CredentialsError,
    read_token,
)
from efficientzero.rpc.stubs import cluster_pb2, cluster_pb2_grpc, run_pb2, run_pb2_grpc
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import EnvSpec
from efficientzero.worker.joining import (
    JoinRefused,
    LearnerAway,
    RunFinished,
    join,
    new_seat,
    seat_in,
)
from efficientzero.worker.membership import Membership, PlaceLost
from learner.cluster.roster import FIRST_JOINED_INCARNATION, Roster
from learner.cluster.watch import ClusterWatch
from learner.pacing.governor import Governor
from learner.records.run_record import RunRecord
from learner.services.claims import Claims
from learner.services.cluster_service import ClusterServicer
from learner.services.server import GrpcServer
from learner.weights.league import League
from learner.weights.publisher import WeightPublisher

ROOT = Path(__file__).resolve().parents[3]
CONFIG = Config(
    budget=BudgetConfig(env_steps=40, warmup_env_steps=8, train_steps=20, last_train_steps=2),
    actor=ActorConfig(num_envs=4),
    cluster=ClusterConfig(num_actors=1),
)
SPEC = EnvSpec(
    env_id="Catch-v0",
    frame_shape=(1, 10, 5),
    frame_dtype="uint8",
    num_actions=3,
    num_stacked_frames=1,
)
REPLAY_PORT = 4321


class Learner:
    """What a learner serves, without the learning."""

    def __init__(
        self,
        folder: Path,
        config: Config = CONFIG,
        address: str = "127.0.0.1:0",
    ) -> None:
        self.run = RunInfo(
            run_id="run",
            run_uid="0123abcd",
            group="group",
            directory=folder,
            config=config,
            env_spec=SPEC,
            replay_address=f"127.0.0.1:{REPLAY_PORT}",
            learner_address=address,
            tracking_mode="disabled",
            versions=protocol.installed_versions(),
        )
        self.governor, self.record = Governor(config), RunRecord(folder)
        counts: dict[str, int] = {}

        def count(name: str) -> int:
            counts[name] = counts.get(name, -1) + 1
            return counts[name]

        self.roster = Roster(
            count_start=count, on_gone=lambda seat: self.governor.forget(seat.index, seat.member)
        )
        self.watch = ClusterWatch(
            self.roster,
            self.governor,
            self.record,
            vitals=lambda: NO_VITALS,
            replay_address=self.run.replay_address,
            incarnation=0,
            has_evaluator=False,
        )
        self.publisher = WeightPublisher()
        self.league = League(config.league, np.random.default_rng(0))
        self.server = GrpcServer(
            address,
            governor=self.governor,
            publisher=self.publisher,
            record=self.record,
            cluster=ClusterServicer(self.run, self.roster, self.watch),
            claims=Claims(config, self.governor, holds=self.roster.holds),
            league=self.league,
            run_uid=self.run.run_uid,
        )
        self.address = self.server.address

    def names(self) -> list[str]:
        return [member.seat.name for member, _ in self.roster.members()]

    def finish(self) -> None:
        """Play and train the whole budget."""
        played, trained, stop = 0, 0, StopSignal()
        for request in range(1, 1_000):
            grant = self.governor.acquire_env_steps(
                90,
                incarnation=1,
                request=request,
                completed=played,
                wanted=4,
                wait_s=0.0,
                given_up=lambda: False,
            )
            played = grant.granted
            while trained < self.governor.pace.total_train_steps:
                if not self.governor.wait_to_train(trained, 0.0, stop):
                    break
                trained += 1
                self.governor.train_step_completed(trained)
            if grant.collection_ended:
                return


@pytest.fixture(scope="session")
def credentials(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("credentials")
    subprocess.run([ROOT / "deploy/scripts/make_certs.sh", folder], check=True, timeout=60)
    return folder


@pytest.fixture
def start(tmp_path):
    learners = []

    def start_learner(**options) -> Learner:
        learners.append(Learner(tmp_path, **options))
        return learners[-1]

    yield start_learner
    for learner in learners:
        learner.server.close(0.0)


@pytest.fixture
def secure(start, credentials, monkeypatch) -> Learner:
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(credentials))
    return start()


def ask(address: str, role: str = "actor", patience_s: float = 60.0):
    return join(address, role, StopSignal(), runs_dir=Path("runs"), patience_s=patience_s)


def wait_until(what, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_newcomer_gets_the_run_an_index_and_seeds_of_its_own(start):
    learner = start()
    (first, one), (second, two) = ask(learner.address), ask(learner.address)
    assert (one.index, two.index) == (0, 1)
    assert one.incarnation == two.incarnation == FIRST_JOINED_INCARNATION
    assert first.config == second.config == learner.run.config
    assert first.env_spec == SPEC
    assert first.directory == Path("runs").resolve() / "run"
    assert first.learner_address == learner.address


def test_replay_is_where_the_learner_is_unless_the_run_says_otherwise(start):
    assert ask(start().address)[0].replay_address == f"127.0.0.1:{REPLAY_PORT}"
    elsewhere = Config(cluster=ClusterConfig(replay_host="replay"))
    assert ask(start(config=elsewhere).address)[0].replay_address == f"replay:{REPLAY_PORT}"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, "tls://127.0.0.1:7401"),
        ({"replay_host": "replay"}, "tls://replay:7401"),
        ({"replay_tls": False}, f"127.0.0.1:{REPLAY_PORT}"),
    ],
)
def test_a_newcomer_hears_where_the_relay_of_replay_is(start, given, wanted):
    cluster = ClusterConfig(bind_host="0.0.0.0", replay_port=7401, learner_port=7400, **given)
    learner = start(config=dataclasses.replace(CONFIG, cluster=cluster))
    assert ask(learner.address)[0].replay_address == wanted


def test_heartbeats_report_a_workers_rate_and_leaving_empties_its_place(start):
    learner = start()
    run, seat = ask(learner.address)
    timer = SectionTimer("actor")
    pulse = Pulse(timer, "env_steps/s")
    pulse.work, pulse.weights_train_step = 10, 7
    with timer.section("wait_pace"):
        membership = Membership(run, seat, StopSignal())
        membership.follow(pulse)

        def vitals() -> Vitals:
            return learner.roster.members()[0][0].vitals

        wait_until(lambda: vitals().weights_train_step == 7)
        assert vitals().waiting_for == "pace"
        assert vitals().rate > 0
    membership.close()
    assert learner.names() == []


def test_actor_that_is_gone_gives_back_what_it_held(start):
    learner = start()
    run, seat = ask(learner.address)
    membership = Membership(run, seat, StopSignal())
    granted = learner.governor.acquire_env_steps(
        seat.index,
        incarnation=seat.member,
        request=1,
        completed=0,
        wanted=4,
        wait_s=0.0,
        given_up=lambda: False,
    ).granted
    assert learner.governor.env_steps_granted == granted == 4
    membership.close()
    assert learner.governor.env_steps_granted == 0


def test_workers_hear_that_the_run_is_over_and_late_ones_too(start):
    learner, stop = start(), StopSignal()
    run, seat = ask(learner.address, "reanalyzer")
    membership = Membership(run, seat, stop)
    learner.finish()
    wait_until(stop.is_set)
    assert stop.reason == "the run is finished"
    membership.check()
    membership.close()
    with pytest.raises(RunFinished):
        ask(learner.address)


def test_worker_survives_a_learner_that_starts_again_and_keeps_its_place(start, tmp_path):
    first, stop = start(), StopSignal()
    run, seat = ask(first.address)
    membership = Membership(run, seat, stop)
    first.server.close(0.0)
    second = start(address=first.address)
    wait_until(lambda: second.names() == ["actor-0"])
    assert not stop.is_set()
    membership.close()


def test_worker_gives_up_a_learner_that_stays_away(start):
    learner, stop = start(), StopSignal()
    run, seat = ask(learner.address)
    membership = Membership(run, seat, stop, silence_s=1.0)
    learner.server.close(0.0)
    wait_until(stop.is_set)
    with pytest.raises(LearnerAway, match="is away for"):
        membership.check()
    membership.close()


def test_worker_whose_place_is_anothers_ends_and_says_so(start):
    learner, stop = start(), StopSignal()
    run, seat = ask(learner.address)
    membership = Membership(run, seat, stop)
    launched = Membership(run, seat_in(learner.run, "actor", 0), StopSignal())
    wait_until(stop.is_set)
    with pytest.raises(PlaceLost, match="replaced"):
        membership.check()
    membership.close()
    launched.close()


def test_worker_of_another_run_is_refused(start):
    learner, stop = start(), StopSignal()
    run, seat = ask(learner.address)
    object.__setattr__(run, "run_uid", "ffffffff")
    membership = Membership(run, seat, stop)
    wait_until(stop.is_set)
    with pytest.raises(PlaceLost, match=r"got run ffffffff .* wanted run 0123abcd"):
        membership.check()
    membership.close()


def test_learner_that_is_not_there_is_waited_for(start):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(LearnerAway, match=f"no place from the learner at {address}"):
            ask(address, patience_s=1.5)
    with pytest.raises(LearnerAway, match="errors resolving no-such-host"):
        ask("no-such-host.invalid:7400", patience_s=0.0)


def test_stop_ends_the_wait_for_a_learner():
    stop = StopSignal()
    stop.set("test")
    assert join("127.0.0.1:1", "actor", stop, runs_dir=Path("runs")) is None


@pytest.mark.parametrize("library", ["efficientzero", "torch"])
def test_other_library_version_is_refused(start, library, monkeypatch):
    learner = start()
    versions = {**protocol.installed_versions(), library: "0.0.7"}
    monkeypatch.setattr("efficientzero.worker.joining.installed_versions", lambda: versions)
    with pytest.raises(JoinRefused, match=rf"{library}: got version 0.0.7, wanted \d"):
        ask(learner.address)
    assert learner.names() == []


def test_builds_of_one_version_for_other_devices_are_alike():
    assert not protocol.different_versions({"torch": "2.1.0+cu126"}, {"torch": "2.1.0+cpu"})


def test_other_protocol_is_refused(start, monkeypatch):
    monkeypatch.setattr("efficientzero.worker.joining.PROTOCOL", 99)
    with pytest.raises(JoinRefused, match=f"protocol: got 99, wanted {protocol.PROTOCOL}"):
        ask(start().address)


def test_config_that_hashes_otherwise_here_is_refused(start, monkeypatch):
    learner = start()
    monkeypatch.setattr(
        "efficientzero.runs.run_folder.config_hash", lambda config, origin: "000000000000"
    )
    with pytest.raises(JoinRefused, match="config hash is 000000000000 here"):
        ask(learner.address)


def test_deterministic_run_takes_nobody(start):
    config = Config(cluster=ClusterConfig(deterministic=True))
    with pytest.raises(JoinRefused, match="the run is deterministic"):
        ask(start(config=config).address)


# Strangers. Each test also shows that the learner is still there for its own.


def status_through(channel: grpc.Channel) -> run_pb2.RunStatus:
    return run_pb2_grpc.RunServiceStub(channel).GetStatus(run_pb2.GetStatusRequest(), timeout=60.0)


def refusal(channel: grpc.Channel) -> grpc.RpcError:
    with channel, pytest.raises(grpc.RpcError) as caught:
        status_through(channel)
    return caught.value


def is_well(learner: Learner) -> bool:
    with open_channel(learner.address) as channel:
        return status_through(channel).env_steps_budget == CONFIG.budget.env_steps


def test_worker_with_token_joins_over_tls(secure):
    _, seat = ask(secure.address)
    assert secure.names() == [f"actor-{seat.index}"]


def test_wrong_token_is_refused_with_one_line(secure, credentials, tmp_path, monkeypatch, caplog):
    others = tmp_path / "others"
    shutil.copytree(credentials, others)
    (others / "token").write_text("another-secret-of-some-length\n")
    with monkeypatch.context() as patch:
        patch.setenv(CREDENTIALS_VARIABLE, str(others))
        with caplog.at_level(logging.INFO), pytest.raises(JoinRefused, match="wrong token or none"):
            ask(secure.address)
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "wrong token or none" in line.getMessage()
    for token in (read_token(others), read_token(credentials)):
        assert token not in caplog.text
    assert secure.names() == []
    assert is_well(secure)


def test_absent_token_is_refused(secure, credentials):
    tls = grpc.ssl_channel_credentials((credentials / "ca.pem").read_bytes())
    options = (("grpc.ssl_target_name_override", "learner.efficientzero"),)
    error = refusal(grpc.secure_channel(secure.address, tls, options=options))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert is_well(secure)


def test_plain_text_client_is_refused(secure, caplog):
    with caplog.at_level(logging.INFO):
        error = refusal(grpc.insecure_channel(secure.address))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert is_well(secure)


@pytest.mark.parametrize("has_token", [False, True])
def test_a_client_without_a_certificate_learns_that_the_learner_speaks_tls(
    secure, credentials, tmp_path, monkeypatch, capsys, has_token
):
    got = "no credentials"
    with monkeypatch.context() as patch:
        patch.delenv(CREDENTIALS_VARIABLE)
        if has_token:
            folder = make_local_credentials(tmp_path)
            patch.setenv(CREDENTIALS_VARIABLE, str(folder))
            got = f"{folder}, which has no ca.pem"
        said = f"the learner at {secure.address} speaks TLS: got {got}, wanted --credentials DIR"
        with pytest.raises(JoinRefused, match=re.escape(said)):
            ask(secure.address)
        assert status.main([secure.address]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"launch.py status: error: {said}")
    assert status.main([secure.address, "--credentials", str(credentials)]) == 0
    assert is_well(secure)


def test_learner_of_another_clusters_ca_is_refused(secure, tmp_path, monkeypatch):
    others = tmp_path / "others"
    subprocess.run([ROOT / "deploy/scripts/make_certs.sh", others], check=True, timeout=60)
    with monkeypatch.context() as patch:
        patch.setenv(CREDENTIALS_VARIABLE, str(others))
        with pytest.raises(JoinRefused, match="not of this cluster's CA"):
            ask(secure.address)
    assert is_well(secure)


def test_learner_without_tls_is_refused_by_a_worker_with_credentials(
    start, credentials, monkeypatch
):
    learner = start()
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(credentials))
    with pytest.raises(JoinRefused, match="speaks no TLS"):
        ask(learner.address)


def test_malformed_message_is_refused_with_one_line(secure, caplog):
    with open_channel(secure.address) as channel, caplog.at_level(logging.INFO):
        call = channel.unary_unary("/efficientzero.ClusterService/Join")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff" * 100, timeout=60.0)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "malformed message for /efficientzero.ClusterService/Join" in record.getMessage()
    assert record.exc_info is None
    assert is_well(secure)


def test_malformed_request_for_a_stream_is_refused(secure):
    with open_channel(secure.address) as channel:
        call = channel.unary_stream("/efficientzero.WeightService/GetWeights")
        with pytest.raises(grpc.RpcError) as caught:
            list(call(b"\xff" * 100, timeout=60.0))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_oversized_message_is_refused_and_costs_nothing(secure):
    with open_channel(secure.address) as channel:
        call = channel.unary_unary("/efficientzero.ClusterService/Join")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\x00" * (8 << 20), timeout=60.0)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert is_well(secure)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("role", "learner", "wanted one of"), ("index", -1, "none negative"), ("member", 0, "seat")],
)
def test_impossible_seat_is_refused(start, field, value, said):
    learner = start()
    seat = new_seat("actor")
    setattr(seat, field, value)
    with open_channel(learner.address) as channel:
        stub = cluster_pb2_grpc.ClusterServiceStub(channel)
        with pytest.raises(grpc.RpcError, match=said):
            stub.Leave(cluster_pb2.LeaveRequest(seat=seat), timeout=60.0)


def test_nobody_listens_beyond_loopback_without_credentials(start, monkeypatch):
    monkeypatch.delenv(CREDENTIALS_VARIABLE, raising=False)
    with pytest.raises(CredentialsError, match=r"got 0\.0\.0\.0, which others can reach"):
        start(address="0.0.0.0:0")


@pytest.mark.parametrize("missing", ["token", "learner.key", "learner.pem", "ca.pem"])
def test_incomplete_credentials_are_named(start, credentials, tmp_path, monkeypatch, missing):
    folder = tmp_path / "partly"
    shutil.copytree(credentials, folder)
    os.unlink(folder / missing)
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(folder))
    with pytest.raises(CredentialsError, match=f"{missing}: No such file"):
        start()


@pytest.mark.parametrize(
    "token", ["short", "two lines\nof secret text", "s\u00e9cret-of-length-20"]
)
def test_unusable_token_is_refused_without_being_shown(credentials, tmp_path, token):
    folder = tmp_path / "bad"
    shutil.copytree(credentials, folder)
    (folder / "token").write_text(token)
    with pytest.raises(CredentialsError, match="wanted one line of at least 16") as caught:
        read_token(folder)
    assert token not in str(caught.value)

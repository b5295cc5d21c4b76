"""The league service over real gRPC on loopback: opponents, their weights, results, the ladder."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from actor.matches import league_client
from actor.matches.league_client import EndedMatch, LeagueClient, Opponent
from deploy.supervising.status import fetch_ladder
from efficientzero.config import Config, LeagueConfig
from efficientzero.process.disk_space import DiskPause
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.credentials import CREDENTIALS_VARIABLE
from efficientzero.rpc.run_client import LearnerRefused, RunClient
from efficientzero.rpc.stubs import weights_pb2
from efficientzero.rpc.weights_codec import encode_weights
from learner.pacing.governor import Governor
from learner.records.run_record import RunRecord
from learner.services import claims
from learner.services.claims import Claims
from learner.services.server import GrpcServer
from learner.weights import League, Members, WeightPublisher

LATEST = weights_pb2.LATEST
LEAGUE = LeagueConfig(
    pool_share=0.5, snapshot_interval=100, capacity=3, baselines=("random", "minimax")
)
MAKE_CERTS = Path(__file__).resolve().parents[3] / "deploy/scripts/make_certs.sh"
PLACE = ("actor", 1, 4711)


def state_of(train_step):
    return {"w": torch.full((300_000,), train_step + 0.5)}  # more than two chunks


class Learner:
    """A learner's services and its pool, which has the weights of some train_steps."""

    def __init__(self, folder, *train_steps, is_strict=False):
        self.publisher, self.folder = WeightPublisher(), folder
        self.league = League(LEAGUE, np.random.default_rng(0))
        members = Members(self.league, self.publisher, folder, DiskPause(StopSignal()))
        for train_step in train_steps:
            payload = encode_weights(state_of(train_step))
            self.publisher.publish_encoded(LATEST, payload, train_step)
            members.admit(payload, train_step)
        governor = Governor(Config())
        checked = Claims(Config(), governor, holds=lambda *place: place == PLACE)
        self.server = GrpcServer(
            "127.0.0.1:0",
            governor=governor,
            publisher=self.publisher,
            record=RunRecord(folder),
            claims=checked if is_strict else None,
            league=self.league,
        )

    def client(self, role="actor", index=1, process=4711):
        run_client = RunClient(self.server.address, StopSignal(), member=process, patience_s=20.0)
        address = self.server.address
        return LeagueClient(run_client, address, StopSignal(), role=role, index=index)


@pytest.fixture
def start(tmp_path):
    started = []

    def make(*train_steps, **options):
        started.append(Learner(tmp_path, *train_steps, **options))
        return started[-1]

    yield make
    for learner in started:
        learner.server.close(0.0)


def match(opponent, outcome, *, train_step=200, seat=0, is_evaluation=False):
    return EndedMatch(opponent, train_step, seat, outcome, 7, is_evaluation)


def test_an_opponent_comes_with_the_weights_that_are_in_its_file(start, tmp_path):
    learner = start(0, 100, 200)
    clients = [learner.client(index=index) for index in (0, 1)]
    members = clients[0].members()
    assert members == [Opponent(k + 1, f"member_{100 * k}", 100 * k) for k in range(3)]
    for client in clients:
        assert client.next_opponent() in members
    for member in members:
        weights = clients[1].weights(member, state_of(0))
        assert torch.equal(weights["w"], state_of(member.train_step)["w"])
        digest = hashlib.sha256(encode_weights(weights)).hexdigest()
        file = tmp_path / "league" / f"{member.name}.safetensors"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    assert start().client().next_opponent() is None


def test_a_member_that_has_gone_has_no_weights(start, caplog, monkeypatch):
    monkeypatch.setattr(league_client, "_WEIGHTS_S", 0.5)
    client = start(0, 100, 200, 300).client()  # one of four has gone
    assert client.weights(Opponent(2, "member_100", 100), state_of(0)) is None
    assert "the weights of member_100: none from learner" in caplog.text


def test_results_feed_the_draw_and_the_ladder(start):
    learner = start(0, 100, 200)
    actor, evaluator = learner.client(), learner.client("evaluator", 0)
    first, minimax = Opponent(1, "member_0", 0), Opponent(0, "minimax", -1)
    assert actor.report([match(first, 1.0), match(first, 0.0, seat=1), match(minimax, -1.0)])
    assert evaluator.report(
        [match(first, 1.0, is_evaluation=True), match(minimax, -1.0, is_evaluation=True)]
    )
    assert fetch_status(learner.server.address).has_ladder
    by_name = {player["name"]: player for player in fetch_ladder(learner.server.address)}
    assert list(by_name) == ["random", "minimax", "member_0", "member_100", "member_200"]
    assert [player["games"] for player in by_name.values()] == [0, 1, 1, 0, 2]
    assert by_name["member_0"]["win_estimate"] == pytest.approx((0.99 + 0.5 + 1) / (1.99 + 2))
    assert by_name["minimax"]["win_estimate"] == pytest.approx(1 / 3)
    assert by_name["minimax"]["rating"] > by_name["member_200"]["rating"]


@pytest.mark.parametrize(
    "wrong",
    [
        match(Opponent(0, "nobody", 0), 1.0),
        match(Opponent(0, "random", 0), 1.0, train_step=-1),
        match(Opponent(0, "random", 0), 1.0, seat=2),
        match(Opponent(0, "random", 0), 1.0, is_evaluation=True),
        match(Opponent(0, "random", 0), 1.0)._replace(length=0),
    ],
)
def test_results_that_cannot_be_are_refused_and_nothing_of_the_report_counts(start, wrong):
    learner = start(0, 100, 200)
    before = learner.league.num_changes
    with pytest.raises(LearnerRefused, match="result: got member 0 "):
        learner.client().report([match(Opponent(0, "random", 0), 1.0), wrong])
    assert learner.league.num_changes == before
    future = match(Opponent(0, "random", 0), 1.0, train_step=300)
    assert learner.client().report([future])  # a restarted learner makes those weights again
    with pytest.raises(LearnerRefused, match=r"weights_version 300, .* 0 to 200"):
        learner.client("evaluator", 0).report([future._replace(is_evaluation=True)])
    itself = match(Opponent(3, "member_200", 200), 1.0, is_evaluation=True)
    sound = match(Opponent(0, "random", 0), 1.0, is_evaluation=True)
    before = learner.league.num_changes
    with pytest.raises(LearnerRefused, match="got train_step 200 against itself, wanted another"):
        learner.client("evaluator", 0).report([sound, itself])
    assert learner.league.num_changes == before
    with pytest.raises(LearnerRefused, match="role: got 'learner', wanted one of"):
        learner.client("learner").report([])


def test_only_who_has_the_place_gets_opponents_and_reports(start, monkeypatch):
    monkeypatch.setattr(claims, "_PLACE_WAIT_S", 0.0)
    learner = start(0, is_strict=True)
    assert learner.client(*PLACE).next_opponent() is not None
    for place in (("actor", 1, 4712), ("actor", 2, 4711), ("evaluator", 1, 4711)):
        client = learner.client(*place)
        with pytest.raises(LearnerRefused, match="got a process without this place"):
            client.report([])
    with pytest.raises(LearnerRefused, match="got a process without this place"):
        learner.client("actor", 0).next_opponent()


def test_tls_and_the_token_stand_in_front_of_the_league(start, tmp_path, monkeypatch):
    folder = tmp_path / "credentials"
    subprocess.run([MAKE_CERTS, folder], check=True, capture_output=True, timeout=60)
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(folder))
    learner = start(0, 100)
    client = learner.client()
    opponent = client.next_opponent()
    assert client.weights(opponent, state_of(0)) is not None
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    for name in ("ca.pem", "token"):
        (stranger / name).write_bytes((folder / name).read_bytes())
    (stranger / "token").write_text("0" * 64)
    os.chmod(stranger / "token", 0o600)
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(stranger))
    with pytest.raises(RuntimeError, match="UNAUTHENTICATED"):
        learner.client().next_opponent()
    with pytest.raises(RuntimeError, match="UNAUTHENTICATED"):
        learner.client().weights(opponent, state_of(0))


def test_a_learner_without_a_pool_has_no_league(tmp_path):
    with GrpcServer(
        "127.0.0.1:0",
        governor=Governor(Config()),
        publisher=WeightPublisher(),
        record=RunRecord(tmp_path),
    ) as server:
        assert not fetch_status(server.address).has_ladder
        run_client = RunClient(server.address, StopSignal(), patience_s=20.0)
        client = LeagueClient(run_client, server.address, StopSignal(), role="actor", index=0)
        with pytest.raises(RuntimeError, match="UNIMPLEMENTED"):
            client.next_opponent()


def fetch_status(address):
    with RunClient(address, StopSignal(), patience_s=20.0) as client:
        return client.status()

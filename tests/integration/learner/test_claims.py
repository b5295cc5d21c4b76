"""What a process with the workers' token can say that is not so: nothing that counts."""

import io
import logging
import math

import grpc
import pytest
from rich.console import Console

from deploy.supervising.status import process_table
from efficientzero.metrics.pulse import NO_VITALS
from efficientzero.rpc.channel import open_channel
from efficientzero.rpc.stubs import (
    cluster_pb2,
    cluster_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
    weights_pb2,
)
from efficientzero.rpc.texts import clean
from efficientzero.worker.joining import new_seat, seat_in
from learner.cluster.roster import Seat
from learner.services import claims as claims_module
from tests.integration.many_hosts.test_joining import Learner

MEMBER = 77


@pytest.fixture
def learner(tmp_path, monkeypatch):
    monkeypatch.setattr(claims_module, "_PLACE_WAIT_S", 0.2)
    learner = Learner(tmp_path)
    yield learner
    learner.server.close(0.0)


@pytest.fixture
def stub(learner):
    with open_channel(learner.address) as channel:
        yield run_pb2_grpc.RunServiceStub(channel)


def seat(role, index=0, member=MEMBER, **fields):
    values = {"incarnation": 0, "host": "here", "pid": 1, **fields}
    return Seat(role=role, index=index, member=member, **values)


def take_place(learner, role, index=0, member=MEMBER):
    learner.roster.beat(seat(role, index, member), NO_VITALS)


def publish(learner, train_step):
    learner.publisher.publish_encoded(weights_pb2.LATEST, b"weights", train_step)


def refusal(call, request) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=60.0)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return caught.value.details()


def acquire(**fields):
    values = {"actor_index": 0, "incarnation": MEMBER, "request": 1, "wanted": 4, **fields}
    return run_pb2.AcquireEnvStepsRequest(**values)


def episodes(*games, member=MEMBER, actor_index=0):
    results = [run_pb2.EpisodeResult(episode_return=r, length=n) for r, n in games]
    return run_pb2.ReportEpisodesRequest(actor_index=actor_index, member=member, episodes=results)


def evaluation(*, count, member=MEMBER, **fields):
    results = [run_pb2.EpisodeResult(episode_return=1.0, length=1)] * count
    values = {"weights_version": 0, "is_final": False, "seconds": 1.0, **fields}
    return run_pb2.ReportEvaluationRequest(episodes=results, member=member, **values)


@pytest.mark.parametrize("place", [None, (0, MEMBER + 1), (1, MEMBER)])
def test_only_who_has_the_place_is_granted_and_counted(learner, stub, place):
    if place is not None:
        take_place(learner, "actor", *place)
    for call, request in (
        (stub.AcquireEnvSteps, acquire()),
        (stub.ReportEpisodes, episodes((1.0, 1))),
    ):
        assert "actor-0: got a process without this place" in refusal(call, request)
    assert learner.governor.env_steps_granted == 0
    assert learner.record.snapshot().episodes == 0


def test_a_place_that_the_learner_hears_of_soon_is_waited_for(learner, stub, monkeypatch):
    monkeypatch.setattr(claims_module, "_PLACE_WAIT_S", 20.0)
    pending = stub.AcquireEnvSteps.future(acquire(), timeout=60.0)
    take_place(learner, "actor")
    assert pending.result().granted > 0


def test_after_a_restart_no_more_than_a_turn_is_believed(learner, stub):
    learner.governor.restore(env_steps=10, train_steps=0)
    take_place(learner, "actor")
    most = learner.run.config.most_envs
    assert "wanted at most" in refusal(stub.AcquireEnvSteps, acquire(completed=10**15))
    assert f"wanted at most {most}" in refusal(stub.AcquireEnvSteps, acquire(completed=most + 1))
    assert learner.governor.env_steps == 10
    stub.AcquireEnvSteps(acquire(completed=most), timeout=60.0)
    assert learner.governor.env_steps == 10 + most


def test_after_a_restart_a_place_that_is_born_again_is_not_believed_again(learner, stub):
    governor, config = learner.governor, learner.run.config
    governor.restore(env_steps=10, train_steps=0)
    believed = max(governor.pace.slack, governor.pace.warmup_env_steps - 10)
    for turn in range(40):
        index, member = turn % 20, MEMBER + turn
        learner.roster.beat(seat("actor", index, member, incarnation=turn), NO_VITALS)
        request = acquire(
            actor_index=index, incarnation=member, completed=config.most_envs, wanted=0
        )
        if turn < 20:
            stub.AcquireEnvSteps(request, timeout=60.0)
        else:
            assert "a second time" in refusal(stub.AcquireEnvSteps, request)
    assert governor.env_steps == min(10 + believed, governor.pace.env_steps)
    assert governor.env_steps < governor.pace.env_steps


@pytest.mark.parametrize(
    "game", [(math.nan, 1), (math.inf, 1), (1e300, 1), (1.0, 0), (1.0, -5), (1.0, 10**12)]
)
def test_games_that_cannot_be_are_refused(learner, stub, game):
    take_place(learner, "actor")
    refusal(stub.ReportEpisodes, episodes(game))
    assert learner.record.snapshot().episodes == 0


def test_games_longer_than_all_that_was_granted_are_refused(learner, stub):
    take_place(learner, "actor")
    granted = stub.AcquireEnvSteps(acquire(), timeout=60.0).granted
    stub.ReportEpisodes(episodes((1.0, granted)), timeout=60.0)
    slack = learner.governor.pace.slack
    refusal(stub.ReportEpisodes, episodes((1.0, slack), (1.0, 1)))
    assert learner.record.episode_env_steps == granted


def test_an_evaluation_is_the_evaluators_and_of_what_is_published(learner, stub):
    config = learner.run.config.evaluator
    good = evaluation(count=config.num_episodes)
    assert "evaluator-0: got a process" in refusal(stub.ReportEvaluation, good)
    take_place(learner, "evaluator")
    publish(learner, 0)
    stub.ReportEvaluation(good, timeout=60.0)
    for wrong, said in (
        (evaluation(count=config.num_episodes + 1), "episodes: got"),
        (evaluation(count=config.num_episodes, weights_version=7), "weights_version: got 7"),
        (evaluation(count=config.final_num_episodes, is_final=True), "a final evaluation: got"),
    ):
        assert said in refusal(stub.ReportEvaluation, wrong)
    assert not learner.record.snapshot().final_evaluation_received


def test_a_final_evaluation_is_of_the_last_weights_of_a_finished_run(learner, stub):
    take_place(learner, "evaluator")
    learner.finish()
    last = learner.governor.pace.total_train_steps
    publish(learner, last)
    count = learner.run.config.evaluator.final_num_episodes
    early = evaluation(count=count, is_final=True, weights_version=last - 1)
    assert f"wanted one of train_step {last}" in refusal(stub.ReportEvaluation, early)
    stub.ReportEvaluation(
        evaluation(count=count, is_final=True, weights_version=last), timeout=60.0
    )
    assert learner.record.snapshot().final_evaluation_received


def test_members_are_nobody_elses_to_see(learner):
    take_place(learner, "actor")
    with open_channel(learner.address) as channel:
        cluster = cluster_pb2_grpc.ClusterServiceStub(channel).GetCluster(
            cluster_pb2.GetClusterRequest(), timeout=60.0
        )
    assert "actor" in [process.seat.role for process in cluster.processes]
    assert {process.seat.member for process in cluster.processes} == {0}


@pytest.mark.parametrize(("role", "index"), [("actor", 10_000), ("evaluator", 1)])
def test_places_beyond_the_roster_are_refused(learner, role, index):
    with open_channel(learner.address) as channel:
        request = cluster_pb2.HeartbeatRequest(
            seat=seat_in(learner.run, role, index),
            run_uid=learner.run.run_uid,
            config_hash=learner.run.config_hash,
        )
        assert "wanted one of" in refusal(
            cluster_pb2_grpc.ClusterServiceStub(channel).Heartbeat, request
        )
    assert learner.names() == []


def heartbeat(learner, **fields):
    values = {"rate": 1.0, "busy": 0.5, "weights_train_step": 3, **fields}
    seat = seat_in(learner.run, "actor", 0)
    seat.host = values.pop("host", "here")
    with open_channel(learner.address) as channel:
        cluster_pb2_grpc.ClusterServiceStub(channel).Heartbeat(
            cluster_pb2.HeartbeatRequest(
                seat=seat,
                run_uid=learner.run.run_uid,
                config_hash=learner.run.config_hash,
                **values,
            ),
            timeout=60.0,
        )


@pytest.mark.parametrize(
    "fields",
    [
        *({"rate": rate} for rate in (math.nan, math.inf, -1.0, 1e300)),
        *({"busy": busy} for busy in (math.nan, -0.1, 1.1)),
        *({"weights_train_step": step} for step in (-2, 2**63 - 1)),
    ],
)
def test_numbers_that_would_spoil_a_sum_are_refused(learner, fields):
    with pytest.raises(grpc.RpcError, match="wanted"):
        heartbeat(learner, **fields)
    assert learner.names() == []


@pytest.mark.parametrize(
    "text",
    ["h[/]", "[red]x", "a\n00:00:00 learner-0 INFO forged", "\x1b[2J", "\u202eabc", "y" * 9999],
)
def test_texts_of_others_are_one_line_of_a_table_and_of_the_log(learner, text, caplog):
    with caplog.at_level(logging.INFO):
        heartbeat(learner, host=text, waiting_for=text, rate_unit=text)
    with open_channel(learner.address) as channel:
        cluster = cluster_pb2_grpc.ClusterServiceStub(channel).GetCluster(
            cluster_pb2.GetClusterRequest(), timeout=60.0
        )
    (process,) = [p for p in cluster.processes if p.seat.role == "actor"]
    for shown in (process.seat.host, process.waiting_for, process.rate_unit):
        assert shown.isprintable()
        assert len(shown) <= 255
    assert all(record.getMessage().isprintable() for record in caplog.records)
    console = Console(width=3_000, file=io.StringIO())
    console.print(process_table(cluster))
    (line,) = [row for row in console.file.getvalue().splitlines() if row.startswith("actor-0")]
    assert clean(text) in line


def test_the_status_says_which_run_it_is(learner, stub):
    status = stub.GetStatus(run_pb2.GetStatusRequest(), timeout=60.0)
    assert status.run_uid == learner.run.run_uid


def test_refused_reports_cost_a_few_lines_however_many_they_are(learner, stub, caplog):
    """Whoever has the token could else fill the disk of the learner, or hide what is in its log."""
    take_place(learner, "actor")
    take_place(learner, "evaluator")
    told = set()
    with caplog.at_level(logging.INFO), open_channel(learner.address) as channel:
        cluster = cluster_pb2_grpc.ClusterServiceStub(channel)
        for number in range(1, 101):
            told.add(refusal(stub.ReportEpisodes, episodes((1.0, -number))))
            told.add(refusal(stub.ReportEvaluation, evaluation(count=1, weights_version=number)))
            told.add(refusal(stub.AcquireEnvSteps, acquire(completed=number)))
            told.add(refusal(stub.AcquireEnvSteps, acquire(wait_seconds=60.0 + number)))
            request = cluster_pb2.LeaveRequest(seat=new_seat(f"role {number}", number))
            told.add(refusal(cluster.Leave, request))
    assert len(told) >= 400, "every caller is told what was wrong with its own"
    lines = [record.getMessage() for record in caplog.records]
    assert 4 <= len(lines) <= 6, lines

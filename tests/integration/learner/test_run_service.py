"""The run service over real gRPC on loopback: pace, results, status, absence of the learner."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
import time
from collections.abc import Iterator
from concurrent import futures

import grpc
import numpy as np
import pytest
import torch

from efficientzero.config.fields import (
    ActorConfig,
    BudgetConfig,
    ClusterConfig,
    Config,
    LearnerConfig,
)
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.channel import open_channel
from efficientzero.rpc.run_client import LearnerUnavailable, RunClient
from efficientzero.rpc.stubs import run_pb2, run_pb2_grpc, weights_pb2
from efficientzero.schema import Grant, Phase
from learner.pacing.governor import Governor
from learner.pacing.lock_step import LockStepGovernor
from learner.records.run_record import RunRecord
from learner.services.server import GrpcServer
from learner.weights.publisher import WeightPublisher

CONFIG = Config(
    budget=BudgetConfig(env_steps=40, warmup_env_steps=8, train_steps=20, last_train_steps=2),
    actor=ActorConfig(num_envs=4),
    cluster=ClusterConfig(num_actors=2),
)
PATIENCE_S = 60.0


class Learner:
    """Everything of a learner but the learning."""

    def __init__(self, folder, config: Config = CONFIG, address: str = "127.0.0.1:0") -> None:
        is_in_turns = config.cluster.deterministic
        self.governor = LockStepGovernor(config) if is_in_turns else Governor(config)
        self.publisher = WeightPublisher()
        self.record = RunRecord(folder)
        self.stop = StopSignal()
        self.server = GrpcServer(
            address,
            governor=self.governor,
            publisher=self.publisher,
            record=self.record,
        )

    def train(self, train_steps: int) -> None:
        stop = StopSignal()
        for _ in range(train_steps):
            assert self.governor.wait_to_train(self.governor.train_steps, PATIENCE_S, stop)
            self.governor.train_step_completed(self.governor.train_steps + 1)


@pytest.fixture
def learner(tmp_path) -> Iterator[Learner]:
    learner = Learner(tmp_path)
    yield learner
    learner.server.close(0.0)


@pytest.fixture
def client(learner) -> Iterator[RunClient]:
    with RunClient(learner.server.address, StopSignal()) as client:
        yield client


def status_of(client: RunClient) -> run_pb2.RunStatus:
    status = client.status()
    assert status is not None
    return status


def read_lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_actors_and_learner_work_a_whole_run_off(learner):
    played = [0, 0]
    numbers: list[int] = []

    def play(index: int) -> None:
        with RunClient(learner.server.address, StopSignal()) as client:
            completed = 0
            while True:
                grant = client.acquire_env_steps(
                    index, completed=completed, wanted=4, wait_s=PATIENCE_S
                )
                if grant.collection_ended:
                    return
                completed = grant.granted
                played[index] += completed
                numbers.extend(range(grant.env_steps, grant.env_steps + completed))

    threads = [threading.Thread(target=play, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    learner.train(22)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sum(played) == learner.governor.env_steps == 40
    assert sorted(numbers) == list(range(40))
    assert learner.governor.phase is Phase.FINISHED


def test_long_poll_returns_with_nothing_at_its_deadline(client):
    granted = -1
    completed = 0
    while granted:  # until only training could make room
        granted = client.acquire_env_steps(0, completed=completed, wanted=4, wait_s=0.0).granted
        completed = granted
    started = time.monotonic()
    grant = client.acquire_env_steps(0, completed=0, wanted=4, wait_s=0.2)
    assert grant._replace(env_steps=0) == Grant(0, False, Phase.COLLECTING)
    assert time.monotonic() - started >= 0.2


def test_64_waiting_actors_leave_threads_for_the_rest(tmp_path):
    config = Config(
        budget=BudgetConfig(
            env_steps=1000, warmup_env_steps=0, train_steps=1000, max_env_steps_ahead=1
        )
    )
    learner = Learner(tmp_path, config)
    channel = open_channel(learner.server.address)
    stub = run_pb2_grpc.RunServiceStub(channel)
    polls = [
        stub.AcquireEnvSteps.future(
            run_pb2.AcquireEnvStepsRequest(
                actor_index=index, incarnation=1, request=1, wanted=1, wait_seconds=PATIENCE_S
            ),
            timeout=PATIENCE_S,
        )
        for index in range(64)
    ]
    try:
        while len(learner.governor._queue) < 63:  # one of them got the only env_step
            time.sleep(0.01)
        assert stub.GetStatus(run_pb2.GetStatusRequest(), timeout=PATIENCE_S).env_steps == 0
    finally:
        learner.server.close(PATIENCE_S)  # answers those who wait
    with channel:  # closed only then: that cancels answers still on their way
        assert sorted(poll.result().granted for poll in polls) == [0] * 63 + [1]


def test_restarted_actor_plays_what_its_predecessor_could_not(learner, client):
    client.acquire_env_steps(0, completed=0, wanted=4, wait_s=0.0)
    assert learner.governor.env_steps_granted == 4
    with RunClient(learner.server.address, StopSignal()) as successor:
        successor.acquire_env_steps(0, completed=0, wanted=4, wait_s=0.0)
        assert learner.governor.env_steps_granted == 4
    with pytest.raises(ValueError, match="was replaced"):
        client.acquire_env_steps(0, completed=4, wanted=4, wait_s=0.0)


def test_dead_actors_request_is_withdrawn(learner):
    stop = StopSignal()
    with RunClient(learner.server.address, stop) as client:
        granted = -1
        completed = 0
        while granted:
            granted = client.acquire_env_steps(0, completed=completed, wanted=4, wait_s=0.0).granted
            completed = granted
        stop.set("test")
        assert client.acquire_env_steps(0, completed=0, wanted=4, wait_s=PATIENCE_S).granted == 0
    deadline = time.monotonic() + PATIENCE_S
    while learner.governor._queue and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not learner.governor._queue


def test_results_become_lines_of_the_run_folder(learner, client, tmp_path):
    client.acquire_env_steps(0, completed=0, wanted=4, wait_s=0.0)
    client.acquire_env_steps(0, completed=4, wanted=0, wait_s=0.0)
    assert client.report_episodes(0, [(-21.0, 800), (3.5, 7)])
    assert client.report_evaluation(
        weights_version=0, is_final=False, episodes=[(1.0, 10), (4.0, 20)], seconds=2.5
    )
    lines = read_lines(tmp_path / "episodes.jsonl")
    assert [line.pop("wall_s") >= 0 for line in lines] == [True, True]
    assert lines == [
        {"actor": 0, "return": -21.0, "length": 800, "env_steps": 4},
        {"actor": 0, "return": 3.5, "length": 7, "env_steps": 4},
    ]
    (line,) = read_lines(tmp_path / "evaluations.jsonl")
    assert line.pop("wall_s") >= 0
    assert line == {
        "weights_version": 0,
        "is_final": False,
        "return_mean": 2.5,
        "returns": [1.0, 4.0],
        "lengths": [10, 20],
        "env_steps": 4,
        "train_steps": 0,
        "seconds": 2.5,
    }


def test_status_has_counters_results_and_the_wait(learner, client):
    status = status_of(client)
    assert status.phase == run_pb2.WARMUP
    assert math.isnan(status.last_eval_return_mean)
    assert status.waiting_for == "warm-up: 0/8 env_steps"
    assert (status.env_steps_budget, status.warmup_env_steps) == (40, 8)
    assert status.train_steps_budget == 22
    learner.record.set_replay_counts(items=123, steps_inserted=456)
    client.report_episodes(1, [(float(i), 1) for i in range(25)])
    client.report_evaluation(weights_version=0, is_final=False, episodes=[(9.0, 1)], seconds=0.0)
    status = status_of(client)
    assert (status.episodes, status.replay_items) == (25, 123)
    assert list(status.last_returns) == [float(i) for i in range(5, 25)]
    assert (status.last_eval_return_mean, status.last_eval_version) == (9.0, 0)
    assert not status.final_evaluation_received


def test_run_is_finished_for_others_once_the_last_weights_are_out(tmp_path):
    config = Config(
        budget=BudgetConfig(env_steps=4, warmup_env_steps=4, train_steps=1, last_train_steps=1)
    )
    learner = Learner(tmp_path, config)
    try:
        with RunClient(learner.server.address, StopSignal()) as client:
            client.acquire_env_steps(0, completed=0, wanted=4, wait_s=0.0)
            assert client.acquire_env_steps(0, completed=4, wanted=4, wait_s=0.0).collection_ended
            learner.publisher.publish(weights_pb2.LATEST, {"w": torch.zeros(1)}, 1)
            learner.train(2)
            assert status_of(client).phase == run_pb2.LAST_STEPS
            learner.publisher.publish(weights_pb2.LATEST, {"w": torch.zeros(1)}, 2)
            status = status_of(client)
            assert (status.phase, status.waiting_for) == (run_pb2.FINISHED, "final evaluation")
            client.report_evaluation(
                weights_version=2, is_final=True, episodes=[(1.0, 1)], seconds=0.0
            )
            status = status_of(client)
            assert (status.final_evaluation_received, status.waiting_for) == (True, "")
    finally:
        learner.server.close(0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda c: c.acquire_env_steps(0, completed=1, wanted=1, wait_s=0.0),
            "completed: got 1, wanted at most the 0 held",
        ),
        (
            lambda c: c.acquire_env_steps(-1, completed=0, wanted=1, wait_s=0.0),
            "wanted none negative",
        ),
        (
            lambda c: c.acquire_env_steps(0, completed=0, wanted=1, wait_s=61.0),
            "wait_seconds: got 61.0, wanted 0 to 60",
        ),
        (lambda c: c.report_episodes(-1, []), "actor_index: got -1"),
        (lambda c: c.report_episodes(0, [(math.nan, 1)]), "wanted a finite return"),
        (lambda c: c.report_episodes(0, [(1.0, 0)]), "a length from 1"),
        (
            lambda c: c.report_evaluation(
                weights_version=0, is_final=False, episodes=[], seconds=0.0
            ),
            "episodes: got none",
        ),
        (
            lambda c: c.report_evaluation(
                weights_version=5, is_final=False, episodes=[(1.0, 1)], seconds=0.0
            ),
            "weights_version: got 5, wanted 0 to 0",
        ),
        (
            lambda c: c.report_evaluation(
                weights_version=0, is_final=False, episodes=[(1.0, 1)], seconds=math.inf
            ),
            "seconds: got inf",
        ),
    ],
)
def test_impossible_request_is_refused_and_changes_nothing(learner, client, call, message):
    with pytest.raises(ValueError, match=message):
        call(client)
    assert learner.governor.env_steps_granted == 0
    assert learner.record.snapshot().episodes == 0
    assert client.acquire_env_steps(0, completed=0, wanted=4, wait_s=0.0).granted == 4


def test_learner_that_never_answers_is_said_in_one_line():
    with (
        RunClient("127.0.0.1:1", StopSignal(), patience_s=0.3) as client,
        pytest.raises(LearnerUnavailable) as failure,
    ):
        client.status()
    assert "learner at 127.0.0.1:1 cannot be reached for 0.3 s" in str(failure.value)
    assert "\n" not in str(failure.value)


def test_stop_ends_a_call_to_an_absent_learner():
    stop = StopSignal()
    stop.set("test")
    with RunClient("127.0.0.1:1", stop, patience_s=600.0) as client:
        assert client.status() is None
        assert not client.report_episodes(0, [(1.0, 1)])
        assert client.acquire_env_steps(0, completed=0, wanted=1, wait_s=1.0).granted == 0


def test_call_outlives_a_short_absence_of_the_learner(tmp_path):
    learner = Learner(tmp_path)
    address = learner.server.address
    with RunClient(address, StopSignal()) as client:
        assert status_of(client).env_steps == 0
        learner.server.close(0.0)
        answers: list[run_pb2.RunStatus] = []
        thread = threading.Thread(target=lambda: answers.append(status_of(client)))
        thread.start()
        again = Learner(tmp_path, address=address)
        thread.join(PATIENCE_S)
        again.server.close(0.0)
    assert [answer.env_steps_budget for answer in answers] == [40]


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_lost_answer_is_neither_counted_nor_granted_twice(code):
    """A server that breaks the connection after the work is done, as a dying network would.

    Or that stops: calls which come while it does end with CANCELLED.
    """
    governor = Governor(CONFIG)
    calls = []

    class LosesFirstAnswer(run_pb2_grpc.RunServiceServicer):
        def AcquireEnvSteps(self, request, context):
            grant = governor.acquire_env_steps(
                request.actor_index,
                incarnation=request.incarnation,
                request=request.request,
                completed=request.completed,
                wanted=request.wanted,
                wait_s=request.wait_seconds,
                given_up=lambda: False,
            )
            calls.append(request.request)
            if len(calls) == 1:
                context.abort(code, "connection lost")
            return run_pb2.AcquireEnvStepsReply(granted=grant.granted, phase=grant.phase.name)

    server = grpc.server(futures.ThreadPoolExecutor(2))
    run_pb2_grpc.add_RunServiceServicer_to_server(LosesFirstAnswer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with RunClient(f"127.0.0.1:{port}", StopSignal()) as client:
        assert client.acquire_env_steps(0, completed=0, wanted=4, wait_s=0.0).granted == 4
    server.stop(0).wait(PATIENCE_S)
    assert calls == [1, 1]
    assert governor.env_steps_granted == 4


def test_deterministic_run_gives_turns_with_what_must_be_known_for_them(tmp_path):
    config = dataclasses.replace(
        CONFIG, cluster=ClusterConfig(deterministic=True), learner=LearnerConfig(publish_interval=3)
    )
    learner = Learner(tmp_path, config)
    state = {"w": torch.zeros(1)}
    with RunClient(learner.server.address, StopSignal()) as client:
        learner.publisher.publish(weights_pb2.LATEST, state, 0)
        learner.publisher.publish(weights_pb2.TARGET, state, 0)
        completed = 0
        for _ in range(3):  # warm-up, warm-up, and four that pay for three train_steps
            assert client.acquire_batch(0, wait_s=0.0) is None
            completed = client.acquire_env_steps(
                0, completed=completed, wanted=4, wait_s=0.0
            ).granted
            assert client.latest_train_step == 0
        assert client.acquire_env_steps(0, completed=completed, wanted=4, wait_s=0.0).granted == 0
        assert client.acquire_batch(0, wait_s=PATIENCE_S) == (0, [], [])
        learner.governor.update(np.array([2**63], np.uint64), np.array([0.25]))
        learner.publisher.publish(weights_pb2.LATEST, state, 1)
        learner.publisher.publish(weights_pb2.TARGET, state, 1)
        learner.governor.train_step_completed(1)
        assert client.acquire_batch(1, wait_s=PATIENCE_S) == (1, [2**63], [0.25])
        for train_steps in (2, 3):
            learner.governor.train_step_completed(train_steps)
        assert client.acquire_env_steps(0, completed=0, wanted=4, wait_s=PATIENCE_S).granted == 4
        assert client.latest_train_step == 1
    learner.server.close(0.0)


def test_turns_are_refused_in_any_other_run(client):
    with pytest.raises(ValueError, match=r"wanted cluster\.deterministic"):
        client.acquire_batch(0, wait_s=0.0)

"""The learner's look at its run: what is a stall, and when everything is done."""

import math

import pytest

from deploy.launching.tokens import make_local_credentials
from efficientzero.metrics.pulse import NO_VITALS, Vitals
from efficientzero.rpc.credentials import (
    CREDENTIALS_VARIABLE,
    credentials_folder,
)
from learner.cluster.roster import Roster, Seat
from learner.cluster.watch import ClusterWatch, _for_workers
from learner.pacing.governor import Governor
from learner.records.run_record import EpisodeResult, RunRecord
from tests.support.cases.governor_cases import Caller, make_config

WAITS = Vitals(0.0, "train_steps/s", "batch", 0.1, 0)
TRAINS = Vitals(5.0, "train_steps/s", "", 1.0, 0)


class Scene:
    """A watch whose clock and learner are in the test's hand."""

    def __init__(self, folder, *, has_evaluator=True):
        self.now, self.vitals = 100.0, WAITS
        self.governor = Governor(make_config(env_steps=8, warmup=4, train_steps=2))
        self.record = RunRecord(folder)
        self.roster = Roster(count_start=lambda name: 0, clock=lambda: self.now)
        self.watch = ClusterWatch(
            self.roster,
            self.governor,
            self.record,
            vitals=lambda: self.vitals,
            replay_address="replay:7401",
            incarnation=3,
            has_evaluator=has_evaluator,
            clock=lambda: self.now,
        )

    def look_after(self, seconds):
        self.now += seconds
        self.watch.replay_answered(4.0)
        self.watch.look()
        return self.watch.cause

    def finish(self):
        caller = Caller(self.governor)
        made = 0
        while not caller.acquire(4).collection_ended:
            while self.governor.may_train(made):
                made += 1
                self.governor.train_step_completed(made)
        assert made == 2

    def evaluate(self):
        self.record.add_evaluation(
            weights_version=2,
            is_final=True,
            episodes=[EpisodeResult(1.0, 3)],
            seconds=1.0,
            env_steps=8,
            train_steps=2,
        )


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_replay_is_a_row_with_its_rate_and_age(scene):
    scene.now += 40.0

    def row():
        first, second = scene.watch.processes()[:2]
        assert second.member.seat.name == "learner-0"
        seat = first.member.seat
        return seat.name, seat.host, first.member.vitals.rate, first.state

    assert row() == ("replay-0", "replay:7401", 0.0, "lost")
    scene.watch.replay_answered(4.0)
    assert row() == ("replay-0", "replay:7401", 4.0, "alive")


def test_wait_is_a_stall_after_ten_seconds_and_none_once_it_is_over(scene):
    assert [scene.look_after(1.0) for _ in range(10)] == [""] * 10
    assert scene.look_after(1.0).startswith("learner waits for batches: no reanalyzer")
    scene.vitals = TRAINS
    assert scene.look_after(1.0) == ""
    scene.vitals = WAITS
    assert scene.look_after(1.0) == ""


def test_silent_replay_is_shown_late_and_then_lost(scene):
    states = []
    for seconds in (1.0, 12.0, 20.0):
        scene.now += seconds
        states.append(scene.watch.processes()[0].state)
    assert states == ["alive", "late", "lost"]


def test_all_processes_are_listed_with_their_hosts(scene):
    scene.roster.beat(Seat("actor", 2, 0, 9, "far", 17), NO_VITALS)
    scene.look_after(1.0)
    replay, learner, actor = scene.watch.processes()
    assert (replay.member.seat.host, replay.member.vitals.rate) == ("replay:7401", 4.0)
    assert math.isnan(replay.member.vitals.busy)
    assert (learner.member.seat.incarnation, learner.member.vitals) == (3, WAITS)
    assert (actor.member.seat.name, actor.member.seat.host, actor.age_s) == ("actor-2", "far", 1.0)


def test_run_is_complete_with_its_final_evaluation(scene):
    assert not scene.watch.is_complete()
    scene.finish()
    assert scene.watch.awaits_evaluation()
    assert not scene.watch.is_complete()
    scene.evaluate()
    assert scene.watch.is_complete()
    assert not scene.watch.awaits_evaluation()


def test_run_without_evaluator_is_complete_when_it_has_trained(tmp_path):
    scene = Scene(tmp_path, has_evaluator=False)
    scene.finish()
    assert scene.watch.is_complete()


def test_who_joins_by_hand_on_loopback_is_named_the_runs_own_tokens(tmp_path, monkeypatch):
    folder = make_local_credentials(tmp_path)
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(folder))
    assert _for_workers(credentials_folder()) == str(folder)
    (folder / "ca.pem").touch()  # of several machines: each has a copy of its own
    assert _for_workers(credentials_folder()) == "DIR"


def test_what_has_collapsed_is_among_the_warnings(scene):
    assert scene.watch.warnings == []
    line = {"kind": "units", "train_steps": 2, "numbers": {}, "message": "the channels died"}
    scene.record.add_collapse(line)
    assert scene.watch.warnings == ["the channels died"]

"""The turns of a deterministic run, against hand-computed schedules."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from efficientzero.config.fields import EvaluatorConfig, LearnerConfig
from efficientzero.schema import Phase
from learner.pacing.lock_step import LockStepGovernor
from replay.steps.priorities import MAX_PRIORITY, MIN_PRIORITY
from tests.support.cases.governor_cases import Caller, make_config

# N = 20, W = 4, T = 10 and 2 more: train_step s needs more than 4 + 1.6 s env_steps; the last
# env_step waits for the ten.
CONFIG = dataclasses.replace(
    make_config(env_steps=20, warmup=4, train_steps=10, last=2),
    evaluator=EvaluatorConfig(interval_train_steps=1_000),
)
SCHEDULE = [
    *("play 4", "play 4", "train 0", "train 1", "train 2", "play 4", "train 3", "train 4"),
    *("play 4", "train 5", "train 6", "train 7", "play 3", "train 8", "train 9", "play 1"),
    *("leave", "train 10", "train 11"),
]


def with_evaluations(*, interval, publish_interval, evaluator=True):
    return dataclasses.replace(
        CONFIG,
        evaluator=EvaluatorConfig(interval_train_steps=interval),
        learner=LearnerConfig(publish_interval=publish_interval),
        cluster=dataclasses.replace(CONFIG.cluster, evaluator=evaluator),
    )


class Players:
    """An actor and a learner that ask in any order and as often as they like."""

    def __init__(self, config=CONFIG):
        self.governor = LockStepGovernor(config)
        self.caller = Caller(self.governor)
        self.done: list[str] = []
        self.has_left = False

    def play(self) -> None:
        """Report what is held as played, ask for four and give up at once."""
        if self.has_left:
            return
        grant = self.caller.acquire(4)
        if grant.granted:
            self.done.append(f"play {grant.granted}")
        if grant.collection_ended:
            assert not self.governor.may_train(self.governor.train_steps)
            self.caller.acquire(0)
            self.done.append("leave")
            self.has_left = True

    def train(self) -> None:
        step = self.governor.train_steps
        if self.governor.wait_for_batch(step, 0.0, lambda: False) is None:
            assert not self.governor.may_train(step)
            return
        assert self.governor.may_train(step)
        assert self.caller.held == 0
        self.done.append(f"train {step}")
        self.governor.train_step_completed(step + 1)

    def take_turns(self) -> list[str]:
        """Let everybody ask until the run is over."""
        for _ in range(100):
            self.play()
            self.train()
        return self.done


def test_schedule_is_the_hand_computed_one():
    assert Players().take_turns() == SCHEDULE


@pytest.mark.parametrize("seed", range(20))
def test_schedule_does_not_depend_on_who_asks_when(seed):
    players, rng = Players(), random.Random(seed)
    chance = rng.random()
    for _ in range(1_000):
        (players.play if rng.random() < chance else players.train)()
    assert players.done == SCHEDULE
    assert players.governor.phase is Phase.FINISHED


def test_last_train_steps_wait_for_the_actors_last_episodes():
    players = Players()
    while players.governor.env_steps < 20:
        players.caller.acquire(4)
        players.train()
    assert not players.governor.may_train(players.governor.train_steps)
    assert players.governor.why_waiting() == "the actor's last episodes"
    players.caller.acquire(0)
    assert players.governor.may_train(players.governor.train_steps)


def test_status_says_who_has_the_turn():
    players = Players()
    assert players.governor.why_waiting() == "warm-up: 0/4 env_steps"
    players.play()
    players.play()
    assert players.governor.why_waiting() == "actors: 1 env_steps behind the pace"
    players.play()  # reports; the learner's turn
    assert players.governor.why_waiting() == ""


def test_training_waits_for_each_evaluation_that_is_due():
    # Due from 3, 6 and 9 on; published are 0, 2, 4 ...: evaluated at 4, 6 and 10, then finally.
    players = Players(with_evaluations(interval=3, publish_interval=2))
    awaited = []
    while len(players.done) < len(SCHEDULE):
        before = len(players.done)
        players.play()
        players.train()
        if len(players.done) == before:
            made = players.governor.train_steps
            assert players.governor.why_waiting() == f"the evaluation of train_step {made}"
            players.governor.evaluation_reported(made - 1)  # of other weights
            assert not players.governor.may_train(made)
            players.governor.evaluation_reported(made)
            awaited.append(made)
    assert awaited == [4, 6, 10]
    assert players.done == SCHEDULE


def test_the_first_train_steps_weights_are_published_and_evaluated_where_that_is_due():
    players = Players(with_evaluations(interval=1, publish_interval=2))
    while players.governor.train_steps < 1:
        players.play()
        players.train()
    assert players.governor.why_waiting() == "the evaluation of train_step 1"


def test_evaluation_reported_before_it_is_awaited_counts():
    players = Players(with_evaluations(interval=3, publish_interval=2))
    while players.governor.train_steps < 3:
        players.play()
        players.train()
    players.governor.evaluation_reported(4)  # of weights published a moment ago
    players.governor.train_step_completed(4)
    assert "evaluation" not in players.governor.why_waiting()


def test_without_evaluator_nobody_waits_for_one():
    config = with_evaluations(interval=3, publish_interval=2, evaluator=False)
    assert Players(config).take_turns() == SCHEDULE


def test_turn_comes_with_the_priorities_of_the_batch_before_in_replays_range():
    players = Players()
    governor = players.governor
    for _ in range(3):
        players.play()
    first = governor.wait_for_batch(0, 0.0, lambda: False)
    assert first == ([], [])
    assert governor.wait_for_batch(0, 0.0, lambda: False) == first  # a lost answer, asked for again
    assert governor.wait_for_batch(1, 0.0, lambda: False) is None
    governor.update(np.array([7, 3, 7], np.uint64), np.array([0.5, np.inf, 0.0]))
    governor.train_step_completed(1)
    second = governor.wait_for_batch(1, 0.0, lambda: False)
    assert second == ([7, 3, 7], [0.5, MAX_PRIORITY, MIN_PRIORITY])

"""Whole runs under random schedules: no rule is broken, nothing gets stuck."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efficientzero.config.fields import Config
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Grant, Phase
from learner.pacing.governor import Governor
from tests.support.cases.governor_cases import Caller, make_config


@dataclass
class Truth:
    """The rules with exact fractions, written independently of the governor."""

    config: Config

    def check(self, governor: Governor) -> None:
        budget = self.config.budget
        warmup = min(budget.warmup_env_steps, budget.env_steps)
        played, granted = governor.env_steps, governor.env_steps_granted
        trained = governor.train_steps
        assert played <= granted <= budget.env_steps
        free = 0 if self.config.compat.warmup_earns_train_steps else warmup
        earning = budget.env_steps - free
        if budget.train_steps and earning:
            pays = Fraction(budget.train_steps, earning)  # train_steps an env_step
            most = max(warmup, free + trained / pays + self.config.max_env_steps_ahead)
            assert Fraction(granted) <= most
            if trained and played < budget.env_steps - 1:
                assert played >= warmup
                assert trained - 1 < (played - free) * pays
        if played < budget.env_steps:
            assert trained <= budget.train_steps
        if played == budget.env_steps and warmup < budget.env_steps:
            # Exactly the last train_steps follow the end of collection.
            assert trained >= budget.train_steps


budgets = st.builds(
    make_config,
    env_steps=st.integers(1, 60),
    warmup=st.integers(0, 80),
    train_steps=st.integers(0, 150),
    last=st.integers(0, 5),
    slack=st.integers(0, 9),
    num_actors=st.integers(1, 4),
    num_envs=st.integers(1, 5),
    warmup_earns=st.booleans(),
)


class Crowd:
    """Actors and a learner that never wait; every turn is checked against the truth."""

    def __init__(self, config: Config) -> None:
        self.governor, self.truth = Governor(config), Truth(config)
        self.wanted = config.actor.num_envs
        self.actors = [Caller(self.governor, i) for i in range(config.cluster.num_actors)]

    @property
    def counts(self) -> tuple[int, int, int]:
        governor = self.governor
        return governor.env_steps, governor.env_steps_granted, governor.train_steps

    def act(self, index: int, *, completed: int | None = None) -> Grant:
        grant = self.actors[index].acquire(self.wanted, completed=completed)
        self.truth.check(self.governor)
        return grant

    def replace(self, index: int) -> None:
        self.actors[index] = Caller(self.governor, index, self.actors[index].incarnation + 1)

    def train(self) -> bool:
        may_train = self.governor.may_train(self.governor.train_steps)
        if may_train:
            self.governor.train_step_completed(self.governor.train_steps + 1)
        self.truth.check(self.governor)
        return may_train


@given(config=budgets, data=st.data())
def test_no_schedule_breaks_a_rule_or_gets_stuck(config, data):
    """Random turns of actors (whole and partial reports, deaths) and learner, then to the end."""
    crowd = Crowd(config)
    everybody = range(config.cluster.num_actors)
    for _ in range(data.draw(st.integers(0, 60))):
        what = data.draw(st.sampled_from(["act", "act", "part", "die", "train", "train"]))
        index = data.draw(st.sampled_from(everybody))
        if what == "train":
            crowd.train()
        elif what == "die":
            crowd.replace(index)
        elif what == "part":
            crowd.act(index, completed=data.draw(st.integers(0, crowd.actors[index].held)))
        else:
            crowd.act(index)

    for index in everybody:
        crowd.act(index)  # those who replaced a dead actor give back what it held
    # From anywhere: as long as something is left, a round of everybody moves the run on.
    while crowd.governor.phase is not Phase.FINISHED:
        before = crowd.counts
        for index in everybody:
            crowd.act(index)
        assert crowd.train() or crowd.counts != before
    assert crowd.governor.env_steps == config.budget.env_steps
    assert crowd.governor.train_steps == config.budget.total_train_steps
    assert all(crowd.act(index).collection_ended for index in everybody)


@pytest.mark.parametrize("warmup_earns", [False, True])
@pytest.mark.parametrize(("env_steps", "train_steps"), [(400, 130), (130, 400)])
def test_threads_keep_the_budget_and_end_together(env_steps, train_steps, warmup_earns):
    config = make_config(
        env_steps=env_steps,
        warmup=20,
        train_steps=train_steps,
        last=7,
        slack=3,
        num_actors=6,
        warmup_earns=warmup_earns,
    )
    governor, truth, stop = Governor(config), Truth(config), StopSignal()
    played = [0] * 6

    def play(index: int) -> None:
        caller = Caller(governor, index)
        while True:
            grant = caller.acquire(4, wait_s=90.0)
            played[index] += grant.granted
            if grant.collection_ended:
                return

    threads = [threading.Thread(target=play, args=(index,), daemon=True) for index in range(6)]
    for thread in threads:
        thread.start()
    for step in range(config.budget.total_train_steps):
        assert governor.wait_to_train(step, 30.0, stop)
        governor.train_step_completed(step + 1)
    for thread in threads:
        thread.join(30.0)
        assert not thread.is_alive()
    truth.check(governor)
    assert sum(played) == governor.env_steps == env_steps
    assert governor.phase is Phase.FINISHED

"""Target weights that are published late."""

import torch

from learner.weights.target_lag import TargetLag


def published(lag, train_steps):
    """Let one tensor tell the train_step; it is changed in place, as an optimiser does."""
    weight, seen = torch.zeros(1), []
    for step in train_steps:
        weight.fill_(step)
        due = lag.exchange({"weight": weight}, step)
        seen.append(None if due is None else (due.train_step, due.state["weight"].clone().item()))
    return seen


def test_one_interval_late_is_the_reference():
    """Weights of 200 arrive at 400 and are used until 600: they are 200 to 400 steps old."""
    assert published(TargetLag(1), [200, 400, 600]) == [None, (200, 200.0), (400, 400.0)]


def test_longer_lags_wait_longer():
    assert published(TargetLag(3), [1, 2, 3, 4, 5]) == [None, None, None, (1, 1.0), (2, 2.0)]


def test_without_a_lag_nothing_is_copied():
    state = {"weight": torch.ones(1)}
    due = TargetLag(0).exchange(state, 7)
    assert due is not None
    assert due.state is state
    assert due.train_step == 7

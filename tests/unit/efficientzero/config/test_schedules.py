"""Schedules at their corners, by hand."""

import pytest

from efficientzero.config.fields import (
    ActorConfig,
    BudgetConfig,
    LearnerConfig,
    ReanalyzerConfig,
    ReplayConfig,
)
from efficientzero.config.schedules import (
    age_per_td_step,
    importance_exponent,
    learning_rate,
    temperature,
)


@pytest.mark.parametrize(
    ("train_step", "expected"),
    [(0, 1.0), (49_999, 1.0), (50_000, 0.5), (75_000, 0.25), (120_000, 0.25)],
)
def test_temperature_falls_at_half_and_three_quarters(train_step, expected):
    assert temperature(train_step, ActorConfig(), BudgetConfig()) == expected


@pytest.mark.parametrize(
    ("train_step", "expected"),
    [(0, 0.0002), (499, 0.1), (999, 0.2), (100_999, 0.2), (101_000, 0.02)],
)
def test_learning_rate_warms_up_and_drops_at_101_000(train_step, expected):
    assert learning_rate(train_step, LearnerConfig(), BudgetConfig()) == pytest.approx(expected)


def test_learning_rate_without_warmup_starts_at_its_peak():
    assert learning_rate(0, LearnerConfig(lr_warmup_fraction=0.0), BudgetConfig()) == pytest.approx(
        0.2
    )


def test_importance_exponent_is_linear_to_one():
    budget = BudgetConfig()
    assert importance_exponent(0, ReplayConfig(), budget) == pytest.approx(0.4)
    assert importance_exponent(60_000, ReplayConfig(), budget) == pytest.approx(0.7)
    assert importance_exponent(500_000, ReplayConfig(), budget) == pytest.approx(1.0)


def test_schedules_of_their_own_length_leave_the_budget_alone():
    own = BudgetConfig(schedule_train_steps=400_000)
    assert own.total_train_steps == BudgetConfig().total_train_steps
    assert temperature(199_999, ActorConfig(), own) == 1.0
    assert temperature(200_000, ActorConfig(), own) == 0.5
    assert learning_rate(1_999, LearnerConfig(), own) == pytest.approx(0.1)  # of 4,000
    assert importance_exponent(210_000, ReplayConfig(), own) == pytest.approx(0.7)  # of 420,000
    assert age_per_td_step(ReanalyzerConfig(), own) == pytest.approx(120_000)
    assert age_per_td_step(ReanalyzerConfig(), BudgetConfig()) == pytest.approx(30_000)

"""Schedules over training, as pure functions of the train_step."""

from __future__ import annotations

from efficientzero.config.role_fields import (
    ActorConfig,
    EvaluatorConfig,
    LearnerConfig,
    ReanalyzerConfig,
    ReplayConfig,
)
from efficientzero.config.run_fields import BudgetConfig


def temperature(train_step: int, actor: ActorConfig, budget: BudgetConfig) -> float:
    """Return the visit-count temperature of weights that have seen ``train_step`` steps."""
    length = _length(budget)
    passed = sum(train_step >= fraction * length for fraction in actor.temperature_fractions)
    return actor.temperatures[passed]


def epsilon(train_step: int, actor: ActorConfig, budget: BudgetConfig) -> float:
    """Return the share of random actions under weights that have seen ``train_step`` steps.

    It goes linearly from ``epsilon_start`` to ``epsilon_end`` and stays there.
    """
    length = actor.epsilon_fraction * _length(budget)
    passed = min(1.0, train_step / length) if length else 1.0
    return actor.epsilon_start + passed * (actor.epsilon_end - actor.epsilon_start)


def learning_rate(train_step: int, learner: LearnerConfig, budget: BudgetConfig) -> float:
    """Return the learning rate of ``train_step``: linear warm-up, then a step decay.

    The rate of the first step is above zero, so that the step is not wasted.
    """
    warmup = lr_warmup_train_steps(learner, budget)
    if train_step < warmup:
        return learner.learning_rate * (train_step + 1) / warmup
    return learner.learning_rate * learner.lr_decay_rate ** (
        (train_step - warmup) // learner.lr_decay_steps
    )


def lr_warmup_train_steps(learner: LearnerConfig, budget: BudgetConfig) -> int:
    """Return the number of train_steps in which the learning rate climbs to its peak."""
    return int(learner.lr_warmup_fraction * _length(budget))


def is_published(train_step: int, learner: LearnerConfig) -> bool:
    """Return whether actors get the weights of ``train_step``: at intervals, and at the start.

    The first train_step's weights are published at once: before it there are only initial weights.
    """
    return train_step == 1 or train_step % learner.publish_interval == 0


def next_evaluation(train_step: int, evaluator: EvaluatorConfig) -> int:
    """Return the train_step from which weights are evaluated, after those of ``train_step``."""
    interval = evaluator.interval_train_steps
    return (train_step // interval + 1) * interval


def importance_exponent(train_step: int, replay: ReplayConfig, budget: BudgetConfig) -> float:
    """Return beta of prioritised replay: linear from start to final over all train_steps."""
    progress = min(1.0, train_step / (_length(budget) + budget.last_train_steps))
    return replay.importance_exponent + progress * (
        replay.importance_exponent_final - replay.importance_exponent
    )


def age_per_td_step(reanalyzer: ReanalyzerConfig, budget: BudgetConfig) -> float:
    """Return the age of data that takes one td step away."""
    return reanalyzer.off_policy_tau * _length(budget)


def _length(budget: BudgetConfig) -> int:
    return budget.schedule_train_steps or budget.train_steps

"""Predicted values against what games then brought, by hand."""

import math

import numpy as np
import pytest

from actor.value_bias import ValueBias
from efficientzero.schema import EnvSteps, Observed


def steps(rewards, *, over=(), cut=()):
    count = len(rewards)
    flags = [np.isin(np.arange(count), chosen) for chosen in (over, cut, over)]
    terminated, truncated, game_over = flags
    return EnvSteps(
        observed=Observed(np.zeros((count, 1), np.float32)),
        rewards=np.array(rewards, np.float32),
        terminated=terminated,
        truncated=truncated,
        game_over=game_over,
    )


def values(*numbers):
    return np.array(numbers, np.float32)


def test_bias_is_the_mean_of_value_minus_discounted_return():
    bias = ValueBias(2, discount=0.5, clip_rewards=False)
    bias.predict(values(5.0, 1.0))
    bias.observe([0, 1], steps([2.0, 3.0], over=[1]))
    bias.predict(values(1.0))
    bias.observe([0], steps([4.0], over=[0]))
    # Environment 0: returns 2 + 0.5 * 4 = 4 and 4; environment 1: 3.
    assert bias.mean() == pytest.approx(((5 - 4) + (1 - 4) + (1 - 3)) / 3)


def test_rewards_are_clipped_where_values_are_of_signs():
    bias = ValueBias(1, discount=1.0, clip_rewards=True)
    bias.predict(values(0.5))
    bias.observe([0], steps([-7.0], over=[0]))
    assert bias.mean() == 1.5


def test_a_game_cut_short_goes_on_with_its_last_value():
    bias = ValueBias(1, discount=0.5, clip_rewards=False)
    for value, cut in ((3.0, ()), (8.0, (0,))):
        bias.predict(values(value))
        bias.observe([0], steps([1.0], cut=cut))
    assert bias.mean() == pytest.approx(3.0 - (1.0 + 0.5 * 8.0))


def test_without_a_step_there_is_no_bias():
    assert math.isnan(ValueBias(3, discount=0.9, clip_rewards=False).mean())

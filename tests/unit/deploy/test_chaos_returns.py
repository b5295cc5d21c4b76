"""When the return of a disturbed run counts as that of undisturbed ones. Numbers by hand."""

import pytest

from tests.chaos.returns import compare, half_width


def test_interval_of_a_mean_is_students():
    # Mean 2.5, deviation sqrt(5/3), 4 episodes; t of 3 degrees of freedom at 97.5 %: 3.182.
    assert half_width([1.0, 2.0, 3.0, 4.0]) == pytest.approx(3.182 * 1.29099 / 2, rel=1e-3)


def test_noise_of_two_evaluations_is_welchs():
    # Both variances 5/3 over 4 episodes: error sqrt(2 * 5/12), 6 degrees of freedom, t 3.707.
    comparison = compare([2.0, 3.0, 4.0, 5.0], [[1.0, 2.0, 3.0, 4.0]])
    assert comparison.difference == pytest.approx(1.0)
    assert comparison.noise == pytest.approx(3.707 * 0.91287, rel=1e-3)
    assert comparison.is_noise


def test_noise_of_runs_counts_where_it_is_the_larger_one():
    # Means 0, 1 and 2, deviation 1; t of 2 degrees of freedom at 99.5 %: 9.925.
    undisturbed = [[0.0] * 50, [1.0] * 50, [2.0] * 50]
    comparison = compare([12.0] * 50, undisturbed)
    assert comparison.noise == pytest.approx(9.925 * (4 / 3) ** 0.5, rel=1e-3)
    assert comparison.is_noise
    assert not compare([12.6] * 50, undisturbed).is_noise


def test_worse_and_better_returns_beyond_noise_both_differ():
    one = [0.9, 1.0, 1.1, 1.0] * 5
    assert not compare([value - 1.0 for value in one], [one]).is_noise
    assert not compare([value + 1.0 for value in one], [one]).is_noise


def test_runs_that_always_reach_the_same_return_differ_only_where_it_does():
    assert compare([500.0] * 20, [[500.0] * 20]).is_noise
    assert not compare([499.0] * 20, [[500.0] * 20]).is_noise

"""Action sampling by frequencies."""

import numpy as np
import pytest

from actor.action_sampling import sample_actions


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.25])
def test_frequencies_are_visits_to_the_power_of_one_over_temperature(temperature):
    counts = np.array([10, 30, 0, 60], np.int32)
    rng = np.random.default_rng(0)
    actions = sample_actions(np.tile(counts, (40_000, 1)), temperature, rng)
    expected = counts ** (1 / temperature) / (counts ** (1 / temperature)).sum()
    np.testing.assert_allclose(np.bincount(actions, minlength=4) / 40_000, expected, atol=0.01)


def test_an_unvisited_action_is_never_taken():
    rng = np.random.default_rng(1)
    actions = sample_actions(np.tile(np.array([0, 1, 0], np.int32), (1000, 1)), 1.0, rng)
    assert set(actions.tolist()) == {1}

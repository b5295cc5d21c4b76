"""Targets against a slow second implementation that works on whole episodes."""

import numpy as np
import pytest

from efficientzero.schema import Ending
from efficientzero.slices import SliceBatch
from efficientzero.targets import (
    action_mask,
    bootstrap_offsets,
    corrected_td_steps,
    policy_mask,
    value_prefix_targets,
    value_targets,
)


def slice_batch(rewards, steps_left, endings, num_unroll_steps):
    count = len(rewards)
    return SliceBatch(
        frames=np.zeros((count, 1, 1), np.float32),
        actions=np.zeros((count, num_unroll_steps), np.int32),
        rewards=np.asarray(rewards, np.float32),
        search_policies=np.zeros((count, num_unroll_steps + 1, 2), np.float32),
        root_values=np.zeros((count, rewards.shape[1] + 1), np.float32),
        steps_left=np.asarray(steps_left, np.int32),
        endings=np.asarray(endings, np.uint8),
        weights_versions=np.zeros(count, np.int64),
        keys=np.zeros(count, np.uint64),
        probabilities=np.ones(count),
        table_sizes=np.ones(count, np.int64),
        priorities=np.ones(count),
    )


def slow_value_target(episode_rewards, ending, values, position, td_steps, discount):
    """The return at ``position`` by walking the episode; values[i] is V(o_i), i = 0..T."""
    end = len(episode_rewards)
    if position > end:
        return 0.0
    total, weight, at = 0.0, 1.0, position
    for _ in range(td_steps):
        if at == end:
            break
        total += weight * episode_rewards[at]
        weight *= discount
        at += 1
    if at < end or ending == Ending.TRUNCATED:
        total += weight * values[at]
    return total


@pytest.mark.parametrize("ending", [Ending.TERMINATED, Ending.TRUNCATED])
def test_value_targets_equal_a_walk_through_whole_episodes(ending):
    rng = np.random.default_rng(int(ending))
    for _ in range(500):
        length, unroll, steps = (
            int(rng.integers(1, 25)),
            int(rng.integers(1, 7)),
            int(rng.integers(1, 8)),
        )
        window = unroll + steps
        episode = rng.normal(size=length).astype(np.float32)
        values = rng.normal(size=length + 1)
        t = int(rng.integers(0, length))
        left = min(length - t, window + 1)
        rewards = np.zeros((1, window), np.float32)
        present = episode[t : t + window]
        rewards[0, : len(present)] = present
        seen_ending = ending if length - t <= window else Ending.RUNNING
        batch = slice_batch(rewards, [left], [seen_ending], unroll)
        horizon = np.array([int(rng.integers(1, steps + 1))], np.int32)
        discount = float(rng.uniform(0.8, 1.0))
        offsets, bootstraps = bootstrap_offsets(batch, horizon, unroll)
        bootstrap_values = np.zeros(offsets.shape, np.float32)
        for k in range(unroll + 1):
            if bootstraps[0, k]:
                bootstrap_values[0, k] = values[t + offsets[0, k]]
        targets = value_targets(
            batch,
            bootstrap_values=bootstrap_values,
            bootstraps=bootstraps,
            td_steps=horizon,
            discount=discount,
        )
        expected = [
            slow_value_target(episode, ending, values, t + k, int(horizon[0]), discount)
            for k in range(unroll + 1)
        ]
        np.testing.assert_allclose(targets[0], expected, rtol=1e-5, atol=1e-5)


def test_value_past_termination_is_zero_and_terminal_state_is_zero():
    batch = slice_batch(np.array([[1.0, 0, 0, 0]]), [1], [Ending.TERMINATED], 2)
    offsets, bootstraps = bootstrap_offsets(batch, np.array([2], np.int32), 2)
    values = np.full(offsets.shape, 9.0, np.float32)
    targets = value_targets(
        batch,
        bootstrap_values=values,
        bootstraps=bootstraps,
        td_steps=np.array([2], np.int32),
        discount=0.9,
    )
    assert targets.tolist() == [[1.0, 0.0, 0.0]]


def test_truncation_bootstraps_from_the_last_real_frame():
    batch = slice_batch(np.array([[1.0, 0, 0, 0]]), [1], [Ending.TRUNCATED], 2)
    offsets, bootstraps = bootstrap_offsets(batch, np.array([2], np.int32), 2)
    assert offsets[0].tolist() == [1, 1, 0]
    assert bootstraps[0].tolist() == [True, True, False]
    targets = value_targets(
        batch,
        bootstrap_values=np.array([[10.0, 10.0, 99.0]], np.float32),
        bootstraps=bootstraps,
        td_steps=np.array([2], np.int32),
        discount=0.5,
    )
    assert targets.tolist() == [[6.0, 10.0, 0.0]]


def test_value_prefix_restarts_at_the_horizon():
    rewards = np.array([[1.0, 2, 3, 4, 5, 6]], np.float32)
    prefixes = value_prefix_targets(rewards, num_unroll_steps=5, horizon=2)
    assert prefixes.tolist() == [[1, 3, 3, 7, 5]]


def test_horizon_one_is_the_plain_reward():
    rewards = np.array([[1.0, 2, 3]], np.float32)
    assert value_prefix_targets(rewards, num_unroll_steps=3, horizon=1).tolist() == [[1, 2, 3]]


def test_td_steps_shrink_with_age_and_stop_at_one():
    ages = np.array([-5, 0, 29_999, 30_000, 60_000, 1_000_000])
    steps = corrected_td_steps(ages=ages, td_steps=5, age_per_step=30_000.0)
    assert steps.tolist() == [5, 5, 5, 4, 3, 1]


def test_masks_follow_steps_left():
    batch = slice_batch(np.zeros((2, 6)), [2, 7], [Ending.TERMINATED, Ending.RUNNING], 3)
    assert action_mask(batch, 3).tolist() == [[True, True, False], [True, True, True]]
    assert policy_mask(batch, 3).tolist() == [[True, True, False, False], [True, True, True, True]]

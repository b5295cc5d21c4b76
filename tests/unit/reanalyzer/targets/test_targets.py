"""Targets by hand, and against the second implementation on thousands of random episodes."""

import numpy as np
import pytest

from efficientzero.config.fields import AgentConfig
from efficientzero.schema import Ending, EnvSpec, SliceBatch
from reanalyzer.targets.slice_targets import (
    action_mask,
    bootstrap_offsets,
    n_step_returns,
    policy_mask,
    slice_ends,
    value_prefix_targets,
)
from reanalyzer.targets.td import corrected_td_steps
from tests.reference.reference_targets import (
    Rules,
    bootstrap_step,
    is_trained,
    shortened_horizon,
    value_prefix_target,
    value_target,
)
from tests.support.cases.replay_cases import random_episode, window
from tests.support.cases.target_cases import without_groups

SPEC = EnvSpec(
    env_id="x", frame_shape=(1,), frame_dtype="float32", num_actions=2, num_stacked_frames=1
)


def slice_batch(rewards, steps_left, endings, num_unroll_steps, positions=0):
    count = len(rewards)
    policies = np.zeros((count, num_unroll_steps + 1, 2), np.float32)
    root_values = np.zeros((count, rewards.shape[1] + 1), np.float32)
    return SliceBatch(
        frames=np.zeros((count, 1, 1), np.float32),
        actions=np.zeros((count, num_unroll_steps), np.int32),
        rewards=np.asarray(rewards, np.float32),
        search_policies=policies,
        root_values=root_values,
        steps_left=np.asarray(steps_left, np.int32),
        endings=np.asarray(endings, np.uint8),
        positions=np.broadcast_to(np.asarray(positions, np.int64), count),
        env_steps=np.zeros(count, np.int64),
        weights_versions=np.zeros(count, np.int64),
        keys=np.zeros(count, np.uint64),
        probabilities=np.ones(count),
        table_sizes=np.ones(count, np.int64),
        priorities=np.ones(count),
        **without_groups(root_values, policies),
    )


def targets_of(batch, *, horizon, values, num_unroll_steps, discount, block_length=0):
    """Return the value targets [K + 1] of a batch of one; ``values[i]`` is V(o[t + i])."""
    ends = slice_ends(batch, block_length=block_length)
    td_steps = np.array([horizon], np.int32)
    offsets, bootstraps = bootstrap_offsets(ends, td_steps, num_unroll_steps)
    targets = n_step_returns(
        batch,
        ends,
        bootstrap_values=np.where(bootstraps, np.asarray(values, np.float32)[offsets], np.nan),
        bootstraps=bootstraps,
        td_steps=td_steps,
        discount=discount,
    )
    return targets[0].tolist()


@pytest.mark.slow
def test_thousands_of_random_slices_equal_walks_through_their_episodes():
    rng = np.random.default_rng(0)
    kinds = set()
    for number in range(4_000):
        unroll, td_steps = int(rng.integers(1, 7)), int(rng.integers(1, 8))
        length = int(rng.integers(1, 30))
        ending = (Ending.TERMINATED, Ending.TRUNCATED)[number % 2]
        rules = Rules(
            unroll=unroll,
            td_steps=td_steps,
            discount=float(rng.uniform(0.8, 1.0)),
            prefix_horizon=int(rng.integers(1, unroll + 1)),
            block_length=int(rng.choice([0, 1, 2, 5, 9, length])),
        )
        episode = random_episode(SPEC, rng, number=number, length=length, ending=ending)
        values = rng.normal(size=length + 1)
        t, horizon = int(rng.integers(length)), int(rng.integers(1, td_steps + 1))
        agent = AgentConfig(num_unroll_steps=unroll, td_steps=td_steps)
        cut = window(episode, t, SPEC, agent)
        batch = slice_batch(cut.rewards[None], [cut.steps_left], [cut.ending], unroll, t)
        from_t = np.concatenate([values[t:], np.full(unroll + td_steps, np.nan)])
        ends = slice_ends(batch, block_length=rules.block_length)
        got = targets_of(
            batch,
            horizon=horizon,
            values=from_t,
            num_unroll_steps=unroll,
            discount=rules.discount,
            block_length=rules.block_length,
        )
        for k in range(unroll + 1):
            wanted = value_target(
                episode, t, k, horizon=horizon, value_of=lambda i, v=values: v[i], rules=rules
            )
            assert got[k] == pytest.approx(wanted, abs=1e-5)
            trained = is_trained(episode, t, k, rules)
            last = bootstrap_step(episode, t, k, horizon, rules)
            kinds.add((bool(rules.block_length), ending, trained, last is None))
            assert policy_mask(ends, unroll)[0, k] == trained
            if k < unroll:
                assert action_mask(ends, unroll)[0, k] == trained
        prefixes = value_prefix_targets(
            batch.rewards, num_unroll_steps=unroll, horizon=rules.prefix_horizon
        )
        for k in range(unroll):
            wanted = value_prefix_target(episode, t, k, rules)
            assert prefixes[0, k] == pytest.approx(wanted, abs=1e-5)
    terminated, truncated = Ending.TERMINATED, Ending.TRUNCATED
    assert kinds == {
        (blocks, ending, trained, ends_in_zero)
        for blocks in (False, True)
        for ending in (terminated, truncated)
        for trained in (False, True)
        for ends_in_zero in (False, True)
    } - {
        # Past a terminated end nothing has a value; within a truncated episode all has.
        (False, terminated, False, False),
        (True, terminated, False, False),
        (False, truncated, True, True),
    }


def test_value_past_termination_is_zero_and_terminal_state_is_zero():
    batch = slice_batch(np.array([[1.0, 0, 0, 0]]), [1], [Ending.TERMINATED], 2)
    got = targets_of(batch, horizon=2, values=[9.0] * 5, num_unroll_steps=2, discount=0.9)
    assert got == [1.0, 0.0, 0.0]


def test_truncation_bootstraps_from_the_last_real_frame():
    batch = slice_batch(np.array([[1.0, 0, 0, 0]]), [1], [Ending.TRUNCATED], 2)
    ends = slice_ends(batch, block_length=0)
    offsets, bootstraps = bootstrap_offsets(ends, np.array([2], np.int32), 2)
    assert offsets[0].tolist() == [1, 1, 0]
    assert bootstraps[0].tolist() == [True, True, False]
    values = [99.0, 10.0, 99.0, 99.0, 99.0]
    got = targets_of(batch, horizon=2, values=values, num_unroll_steps=2, discount=0.5)
    assert got == [6.0, 10.0, 0.0]


def test_block_end_drops_the_bootstrap_but_counts_the_rewards_beyond():
    """Step 2 of blocks of 4 env_steps, in an episode that goes on: two steps are the block's own.

    With two td steps: z0 = 1 + 0.5 * 2, whose bootstrap would be at the boundary; z1 = 2 + 0.5 * 4
    with a reward of the next block; from the boundary on zero.
    """
    rewards = np.array([[1.0, 2, 4, 8, 16]])
    batch = slice_batch(rewards, [6], [Ending.RUNNING], 3, positions=2)
    got = targets_of(
        batch, horizon=2, values=[100.0] * 6, num_unroll_steps=3, discount=0.5, block_length=4
    )
    assert got == [2.0, 4.0, 0.0, 0.0]
    ends = slice_ends(batch, block_length=4)
    assert action_mask(ends, 3).tolist() == [[True, True, False]]
    assert policy_mask(ends, 3).tolist() == [[True, True, False, False]]


def test_bootstrap_inside_the_block_is_kept():
    """Step 4 is the first of its block: one step later is still inside, two later too."""
    batch = slice_batch(np.array([[1.0, 2, 4]]), [4], [Ending.RUNNING], 1, positions=4)
    got = targets_of(
        batch, horizon=2, values=[0.0, 0, 10, 20], num_unroll_steps=1, discount=0.5, block_length=4
    )
    assert got == [1 + 0.5 * 2 + 0.25 * 10, 2 + 0.5 * 4 + 0.25 * 20]


def test_truncation_inside_a_block_keeps_its_value_and_at_a_block_end_loses_it():
    batch = slice_batch(np.array([[1.0, 0, 0]]), [1], [Ending.TRUNCATED], 1, positions=2)
    options = {"horizon": 2, "values": [0.0, 10, 0, 0], "num_unroll_steps": 1, "discount": 0.5}
    assert targets_of(batch, block_length=4, **options) == [6.0, 10.0]
    assert targets_of(batch, block_length=3, **options) == [1.0, 0.0]


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
    assert steps.tolist() == [shortened_horizon(age, 5, 30_000.0) for age in ages]


def test_masks_follow_steps_left():
    batch = slice_batch(np.zeros((2, 6)), [2, 7], [Ending.TERMINATED, Ending.RUNNING], 3)
    ends = slice_ends(batch, block_length=0)
    assert action_mask(ends, 3).tolist() == [[True, True, False], [True, True, True]]
    assert policy_mask(ends, 3).tolist() == [[True, True, False, False], [True, True, True, True]]

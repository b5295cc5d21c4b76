"""Batches: endings, resets of some, and what a step refuses."""

import numpy as np
import pytest

from efficientzero.config.fields import Config, EnvConfig
from efficientzero.envs import make_env_batch
from efficientzero.envs.batch import EnvBatch


def make_batch(env_id: str, num_envs: int, *, max_episode_steps: int = 0) -> EnvBatch:
    env = EnvConfig(id=env_id, max_episode_steps=max_episode_steps)
    return make_env_batch(Config(env=env), seeds=range(num_envs), purpose="training")


def balancing_actions(frames: np.ndarray) -> np.ndarray:
    """Push CartPole's cart to the side its pole falls to, and back to the middle."""
    position, velocity, angle, angular_velocity = frames.T
    lean = 3 * angle + angular_velocity + 0.1 * position + 0.2 * velocity
    return (lean > 0).astype(np.int64)


def test_a_balanced_cartpole_is_truncated_at_its_own_limit_and_not_terminated():
    batch = make_batch("CartPole-v1", 2)
    frames = batch.reset([0, 1]).frames
    score = np.zeros(2)
    for _ in range(500):
        steps = batch.step([0, 1], balancing_actions(frames))
        frames, score = steps.observed.frames, score + steps.rewards
        assert not steps.terminated.any()
    assert steps.truncated.all()
    assert steps.game_over.all()
    assert score.tolist() == [500, 500]


def test_a_fallen_cartpole_is_terminated_and_not_truncated():
    batch = make_batch("CartPole-v1", 1)
    batch.reset([0])
    steps = batch.step([0], np.array([1]))
    while not steps.terminated[0]:
        steps = batch.step([0], np.array([1]))
    assert (steps.truncated[0], steps.game_over[0]) == (False, True)
    assert abs(steps.observed.frames[0, 2]) > 0.2  # the real last frame: the pole lies


@pytest.mark.parametrize("limit, expected", [(30, 30), (600, 500)])
def test_the_shorter_of_two_time_limits_holds(limit: int, expected: int):
    batch = make_batch("CartPole-v1", 1, max_episode_steps=limit)
    frames = batch.reset([0]).frames
    num_steps, has_ended = 0, False
    while not has_ended:
        steps = batch.step([0], balancing_actions(frames))
        frames, has_ended = steps.observed.frames, bool(steps.truncated[0] or steps.terminated[0])
        num_steps += 1
    assert (num_steps, bool(steps.truncated[0])) == (expected, True)


def test_a_task_that_ends_exactly_at_its_limit_has_terminated():
    batch = make_batch("Catch-v0", 1, max_episode_steps=9)
    batch.reset([0])
    for _ in range(9):
        steps = batch.step([0], np.array([1]))
    assert (bool(steps.terminated[0]), bool(steps.truncated[0])) == (True, False)


def test_an_ended_environment_must_be_reset_before_it_is_stepped():
    batch = make_batch("Catch-v0", 2)
    with pytest.raises(ValueError, match=r"\[0, 1\] have ended"):
        batch.step([0, 1], np.array([1, 1]))
    batch.reset([0, 1])
    for _ in range(9):
        steps = batch.step([1], np.array([1]))
    assert steps.terminated[0]
    with pytest.raises(ValueError, match=r"\[1\] have ended"):
        batch.step([0, 1], np.array([1, 1]))
    batch.reset([1])
    assert not batch.step([0, 1], np.array([1, 1])).terminated.any()


def test_actions_go_to_the_environments_they_are_for():
    batch = make_batch("Catch-v0", 3)
    batch.reset([0, 1, 2])
    steps = batch.step([2, 0], np.array([0, 2]))
    assert steps.observed.frames[:, 0, 9].argmax(axis=1).tolist() == [1, 3]
    steps = batch.step([0, 1, 2], np.array([1, 1, 1]))
    assert steps.observed.frames[:, 0, 9].argmax(axis=1).tolist() == [3, 2, 1]


def test_frames_handed_out_are_not_changed_by_later_steps():
    batch = make_batch("ALE/Breakout-v5", 1)
    first = batch.reset([0]).frames
    kept = first.copy()
    batch.step([0], np.array([1]))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    "indices, actions, message",
    [
        ([0, 1], [1], r"got shape \(1,\), wanted \(2,\)"),
        ([0, 0], [1, 1], "at most once"),
        ([0], [3], r"got 3, wanted 0\.\.2"),
        ([0], [-1], r"got -1, wanted 0\.\.2"),
    ],
)
def test_a_malformed_step_is_refused(indices: list[int], actions: list[int], message: str):
    batch = make_batch("Catch-v0", 2)
    batch.reset([0, 1])
    with pytest.raises(ValueError, match=message):
        batch.step(indices, np.array(actions))

"""Environments with continuous actions: bounds, shapes and what is refused."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from efficientzero.config import load_preset
from efficientzero.envs import make_env_batch, random_actions
from efficientzero.envs.gym import GymEnv
from efficientzero.envs.gym.actions import numbered


class Recording(gymnasium.Env):
    """Keeps the actions that it is given."""

    observation_space = spaces.Box(-1, 1, (2,))

    def __init__(self, action_space):
        self.action_space, self.taken = action_space, []

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.taken.append(action)
        return np.zeros(2, np.float32), 0.0, False, False, {}


def test_one_is_the_upper_bound_of_the_environment():
    recording = Recording(spaces.Box(-2.0, 2.0, (1,)))
    env = GymEnv(recording, seed=0, max_episode_steps=0)
    assert (env.action_kind, env.action_size, env.num_actions) == ("continuous", 1, 0)
    env.reset()
    for action in (1.0, -1.0, 0.0, 0.25):
        env.step(np.array([action], np.float32))
    assert [float(taken[0]) for taken in recording.taken] == [2.0, -2.0, 0.0, 0.5]


def test_bounds_and_shape_are_the_environments_own():
    low, high = np.array([[0.0, -1.0]], np.float32), np.array([[4.0, 3.0]], np.float32)
    recording = Recording(spaces.Box(low, high))
    env = GymEnv(recording, seed=0, max_episode_steps=0, action_repeat=2)
    env.reset()
    env.step(np.array([0.5, -0.5], np.float32))
    assert len(recording.taken) == 2
    np.testing.assert_array_equal(recording.taken[0], [[3.0, 0.0]])
    assert recording.action_space.contains(recording.taken[0])


@settings(max_examples=50, deadline=None)
@given(
    low=st.floats(-1e6, 1e6, width=32),
    width=st.floats(0, 1e6, width=32),
    action=st.floats(-1, 1, width=32),
)
def test_what_is_played_lies_within_the_box(low, width, action):
    space = spaces.Box(np.float32(low), np.float32(low) + np.float32(width), (1,))
    assert space.contains(numbered(space).decode(np.array([action], np.float32)))


def test_a_number_may_be_a_whole_action():
    scaled = numbered(spaces.Box(-1.0, 1.0, ()))
    assert scaled.size == 1
    assert scaled.decode(np.array([0.5], np.float32)).shape == ()


def test_a_batch_refuses_what_is_no_action():
    envs = make_env_batch(load_preset("pendulum"), seeds=[0, 1], purpose="training")
    envs.reset([0, 1])
    drawn = random_actions(envs.spec, np.random.default_rng(0), 2)
    assert drawn.shape == (2, 1) and drawn.dtype == np.float32
    envs.step([0, 1], drawn)
    for wrong, message in (
        (drawn[:, 0], "shape"),
        (drawn * 100, "outside"),
        (drawn * np.nan, "outside"),
    ):
        with pytest.raises(ValueError, match=f"actions: got .*{message}"):
            envs.step([0, 1], wrong)
    envs.close()

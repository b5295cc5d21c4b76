"""gymnasium environments as frames: layouts of observations and actions."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from efficientzero.envs.gym import GymEnv


class EchoEnv(gymnasium.Env):
    """Observes a fixed array and remembers the action it was given."""

    def __init__(self, space: spaces.Space, observation: Any, first_action: int = 0) -> None:
        self.observation_space = space
        self.action_space = spaces.Discrete(3, start=first_action)
        self.observation = observation
        self.actions: list[int] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return self.observation, {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
        self.actions.append(action)
        return self.observation, 0.5, False, False, {}


def image_space(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8)


@pytest.mark.parametrize(
    "space, observation, expected",
    [
        (image_space(4, 5), PIXELS[:20].reshape(4, 5), PIXELS[:20].reshape(1, 4, 5)),
        (image_space(4, 5, 1), PIXELS[:20].reshape(4, 5, 1), PIXELS[:20].reshape(1, 4, 5)),
        (
            image_space(4, 5, 3),
            PIXELS.reshape(4, 5, 3),
            np.stack([PIXELS[channel::3].reshape(4, 5) for channel in range(3)]),
        ),
        (
            spaces.Box(0, 1, (4, 5, 3), np.bool_),
            PIXELS.reshape(4, 5, 3) % 2 == 1,
            np.stack([(PIXELS[c::3].reshape(4, 5) % 2) * 255 for c in range(3)]).astype(np.uint8),
        ),
        (spaces.Box(-1, 1, (2,)), np.array([0.25, -1.0]), np.array([0.25, -1.0], np.float32)),
        (spaces.Discrete(4), 2, np.array([0, 0, 1, 0], np.float32)),
        (spaces.Discrete(3, start=5), 5, np.array([1, 0, 0], np.float32)),
    ],
    ids=["HxW", "HxWx1", "HxWx3", "planes", "vector", "one-hot", "one-hot from 5"],
)
def test_observations_become_frames(space, observation, expected):
    env = GymEnv(EchoEnv(space, observation), seed=0, max_episode_steps=0)
    for frame in (env.reset(), env.step(0).frame):
        np.testing.assert_array_equal(frame.astype(env.frame_dtype), expected)
    assert env.frame_shape == expected.shape
    assert env.frame_dtype == expected.dtype.name


def test_actions_start_at_zero_whatever_the_space_says():
    echo = EchoEnv(spaces.Box(-1, 1, (2,)), np.zeros(2), first_action=7)
    env = GymEnv(echo, seed=0, max_episode_steps=0)
    env.reset()
    env.step(0)
    env.step(2)
    assert (env.num_actions, echo.actions) == (3, [7, 9])


def test_one_seed_gives_one_sequence_of_different_episodes():
    first, second = (
        GymEnv(gymnasium.make("CartPole-v1"), seed=3, max_episode_steps=0) for _ in range(2)
    )
    starts = [first.reset() for _ in range(3)]
    np.testing.assert_array_equal(starts, [second.reset() for _ in range(3)])
    assert len(np.unique(starts, axis=0)) == 3


class CountingEnv(EchoEnv):
    """Rewards its n-th step with n and ends after five."""

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
        super().step(action)
        count = len(self.actions)
        return self.observation, float(count), count == 5, False, {}


def test_a_repeated_action_is_one_env_step_with_all_its_rewards():
    inner = CountingEnv(spaces.Box(-1, 1, (2,)), np.zeros(2))
    env = GymEnv(inner, seed=0, max_episode_steps=0, action_repeat=3)
    env.reset()
    first, second = env.step(1), env.step(0)
    assert (first.reward, first.terminated) == (1 + 2 + 3, False)
    # The episode ended in the middle of the second one.
    assert (second.reward, second.terminated, second.game_over) == (4 + 5, True, True)
    assert inner.actions == [1, 1, 1, 0, 0]


def test_the_time_limit_counts_env_steps():
    env = GymEnv(
        EchoEnv(spaces.Box(-1, 1, (2,)), np.zeros(2)), seed=0, max_episode_steps=2, action_repeat=3
    )
    env.reset()
    assert [env.step(0).truncated for _ in range(2)] == [False, True]

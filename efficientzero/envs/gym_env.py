"""Any gymnasium environment with discrete actions as a SingleEnv: frames and time limit.

Built by the factory for every id that is not an Atari game. Images keep their native resolution.
Knows no batch and no registry.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from efficientzero.envs.batch import EnvStep
from efficientzero.schema import Frames

_WHITE = np.uint8(255)


class GymEnv:
    """One gymnasium environment; its own time limit holds, and ``max_episode_steps`` if shorter."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int,
        max_episode_steps: int,
        action_repeat: int = 1,
    ) -> None:
        """Take over ``env``.

        Args:
            env: with discrete actions.
            seed: of its first episode, which the others follow.
            max_episode_steps: in env_steps; 0 leaves the environment its own limit only.
            action_repeat: times each action is taken. Here, since gymnasium's wrapper that repeats
                actions returns the largest of two observations, which is for flickering screens.

        Raises:
            ValueError: actions or observations of a kind that is not supported.
        """
        if not isinstance(env.action_space, spaces.Discrete):
            raise ValueError(f"actions are {env.action_space}; choose one with Discrete actions")
        self.frame_shape, self.frame_dtype = _frame_layout(env.observation_space)
        self.num_actions = int(env.action_space.n)
        self._first_action = int(env.action_space.start)
        self._env = env
        self._seed: int | None = seed
        self._max_episode_steps = max_episode_steps or sys.maxsize
        self._action_repeat = action_repeat
        self._num_steps = 0

    def reset(self) -> Frames:
        """Start an episode; the first one seeds the environment, the others go on from there."""
        observation, _ = self._env.reset(seed=self._seed)
        self._seed = None
        self._num_steps = 0
        return self._frame(observation)

    def step(self, action: int) -> EnvStep:
        """Take one env_step: the action repeated, unless the episode ends before."""
        action, reward = self._first_action + action, 0.0
        for _ in range(self._action_repeat):
            observation, more, terminated, truncated, _ = self._env.step(action)
            reward += float(more)
            if terminated or truncated:
                break
        self._num_steps += 1
        cut = truncated or self._num_steps >= self._max_episode_steps
        return EnvStep(
            frame=self._frame(observation),
            reward=reward,
            terminated=bool(terminated),
            truncated=bool(cut and not terminated),
            game_over=bool(terminated or cut),
        )

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _frame(self, observation: Frames | int) -> Frames:
        space = self._env.observation_space
        if isinstance(space, spaces.Discrete):
            one_hot = np.zeros(self.frame_shape, np.float32)
            one_hot[int(observation) - int(space.start)] = 1.0
            return one_hot
        array = np.asarray(observation)
        if array.dtype == np.bool_:
            array = array.astype(np.uint8) * _WHITE
        match array.shape:
            case (_, _, _):
                return array.transpose(2, 0, 1)  # [C, H, W]
            case _:
                return array.reshape(self.frame_shape)


def _frame_layout(space: spaces.Space[Any]) -> tuple[tuple[int, ...], str]:
    """Return shape and dtype of the frames that observations of ``space`` become.

    Box uint8 H x W, H x W x 1 or H x W x 3 are images, and so is a Box bool H x W x C: C planes of
    0 and 255. A Box of rank one is a vector, a Discrete observation a one-hot vector.
    """
    if isinstance(space, spaces.Discrete):
        return (int(space.n),), "float32"
    if isinstance(space, spaces.Box):
        match space.shape:
            case (size,):
                return (size,), "float32"
            case (height, width) if space.dtype == np.uint8:
                return (1, height, width), "uint8"
            case (height, width, (1 | 3) as channels) if space.dtype == np.uint8:
                return (channels, height, width), "uint8"
            case (height, width, channels) if space.dtype == np.bool_:
                return (channels, height, width), "uint8"
    raise ValueError(
        f"observations are {space}; wrap it so that they are a Box of rank one "
        "or a uint8 Box of H x W, H x W x 1 or H x W x 3, or a bool Box of H x W x C"
    )

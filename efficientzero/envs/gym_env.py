"""Any gymnasium environment with Discrete or Box actions as a SingleEnv: frames and time limit.

Built by the factory for every id that is not an Atari game. Images keep their native resolution.
Knows no batch and no registry.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from operator import add
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from efficientzero.envs.batch import EnvStep, SingleEnv
from efficientzero.envs.contract import ObservationCheck, reset_values, step_values
from efficientzero.schema import F32, Frames

_WHITE = np.uint8(255)


class GymEnv(SingleEnv):
    """One gymnasium environment; its own time limit holds, and ``max_episode_steps`` if shorter.

    What it returns is checked against the spaces that it declares (``contract``).
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int,
        max_episode_steps: int,
        action_repeat: int = 1,
        own_limit: int = 0,
    ) -> None:
        """Take over ``env``.

        Args:
            env: with discrete actions, or with a Box of floats between finite bounds.
            seed: of its first episode, which the others follow.
            max_episode_steps: in env_steps; 0 leaves the environment its own limit only.
            action_repeat: times each action is taken. Here, since gymnasium's wrapper that repeats
                actions returns the largest of two observations, which is for flickering screens.
            own_limit: env_steps after which the environment itself is known to end; 0: not known.

        Raises:
            ValueError: actions or observations of a kind that is not supported.
        """
        self.frame_shape, self.frame_dtype = _frame_layout(env.observation_space)
        self._to_env: Callable[[Any], Any]
        if isinstance(env.action_space, spaces.Discrete):
            self.num_actions = int(env.action_space.n)
            self._to_env = partial(add, int(env.action_space.start))
        else:
            self.num_actions, self.action_kind = 0, "continuous"
            self._to_env = box = _Scaled(env.action_space)
            self.action_size = box.size
        self.time_limit = max_episode_steps or own_limit
        self.has_action_mask = False
        """An info has had an ``action_mask``."""
        self._observations = ObservationCheck(env.observation_space)
        self._env = env
        self._seed: int | None = seed
        self._max_episode_steps = max_episode_steps or sys.maxsize
        self._action_repeat = action_repeat
        self._num_steps = 0

    @property
    def out_of_range(self) -> str:
        """The first observation outside the declared range, in words; empty while there is none."""
        return self._observations.out_of_range

    @property
    def largest_pixel(self) -> int:
        """What is declared for the pixels of images; 255 for everything else."""
        space = self._env.observation_space
        if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(self.frame_shape) > 1:
            return int(space.high.max())
        return int(_WHITE)

    def reset(self) -> Frames:
        """Start an episode; the first one seeds the environment, the others go on from there."""
        observation, info = reset_values(self._env.reset(seed=self._seed))
        self.has_action_mask |= "action_mask" in info
        self._seed = None
        self._num_steps = 0
        return self._frame(observation)

    def step(self, action: int | F32) -> EnvStep:
        """Take one env_step: the action repeated, unless the episode ends before."""
        taken, reward = self._to_env(action), 0.0
        for _ in range(self._action_repeat):
            result = self._env.step(taken)
            observation, more, terminated, truncated, info = step_values(result)
            reward += more
            if terminated or truncated:
                break
        self.has_action_mask |= "action_mask" in info
        self._num_steps += 1
        cut = truncated or self._num_steps >= self._max_episode_steps
        return EnvStep(
            frame=self._frame(observation),
            reward=reward,
            terminated=terminated,
            truncated=cut and not terminated,
            game_over=terminated or cut,
        )

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _frame(self, observation: Any) -> Frames:  # noqa: ANN401  anything
        array = self._observations.checked(observation)
        space = self._env.observation_space
        if isinstance(space, spaces.Discrete):
            one_hot = np.zeros(self.frame_shape, np.float32)
            one_hot[int(array) - int(space.start)] = 1.0
            return one_hot
        if array.dtype == np.bool_:
            array = (array.astype(np.uint8) * _WHITE).astype(self.frame_dtype, copy=False)
        match array.shape:
            case (_, _, _):
                return array.transpose(2, 0, 1)  # [C, H, W]
            case _:
                return array.reshape(self.frame_shape)


class _Scaled:
    """Scales numbers in -1..1 to the bounds of a Box: low + (a + 1) (high - low) / 2."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        """Keep the bounds; a Box of any rank, which is flattened.

        Raises:
            ValueError: another space, or bounds that are not finite.
        """
        if not isinstance(space, spaces.Box) or space.dtype.kind != "f":
            raise ValueError(
                f"actions are {space}; choose one with Discrete or Box (float) actions"
            )
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise ValueError(
                f"actions are {space}, whose bounds are not finite; declare finite ones, with "
                "gymnasium.wrappers.TransformAction for example"
            )
        self.size = int(np.prod(space.shape))
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        self._dtype = space.dtype

    def __call__(self, action: F32) -> NDArray[Any]:
        """Return the environment's action of f32 [size]."""
        shares = (action.astype(np.float64).reshape(self._low.shape) + 1.0) / 2.0
        scaled = self._low + shares * (self._high - self._low)
        return np.clip(scaled, self._low, self._high).astype(self._dtype)


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

"""Any gymnasium environment with numbered or Box actions as a SingleEnv: frames and time limit.

Built by the factory for every id that is not an Atari game. Images keep their native resolution.
Knows no batch and no registry.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from efficientzero.envs.batch import EnvStep, SingleEnv
from efficientzero.envs.contract import ObservationCheck, reset_values, step_values
from efficientzero.envs.gym.actions import Scaled, numbered
from efficientzero.envs.gym.masks import Info, Source, find_source
from efficientzero.envs.gym.observations import frame_layout, seen, seen_space
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
        reads_masks: bool = True,
    ) -> None:
        """Take over ``env``.

        Args:
            env: with Discrete, MultiDiscrete or MultiBinary actions, or a Box of floats.
            seed: of its first episode, which the others follow.
            max_episode_steps: in env_steps; 0 leaves the environment its own limit only.
            action_repeat: times each action is taken. Here, since gymnasium's wrapper that repeats
                actions returns the largest of two observations, which is for flickering screens.
            own_limit: env_steps after which the environment itself is known to end; 0: not known.
            reads_masks: whether legal actions are looked for, at the first reset.

        Raises:
            ValueError: actions or observations of a kind that is not supported.
        """
        self._actions = numbered(env.action_space)
        self.num_actions = self._actions.num_actions
        if isinstance(self._actions, Scaled):
            self.action_kind, self.action_size = "continuous", self._actions.size
            reads_masks = False
        self._space = seen_space(env.observation_space)
        self.frame_shape, self.frame_dtype = frame_layout(self._space)
        self.time_limit = max_episode_steps or own_limit
        self._reads_masks = reads_masks
        self._mask_source: Source | None = None  # found at the first reset, if there is one
        self._first_reset: tuple[Any, Info] | None = None  # made by ``find_masks`` and not used yet
        self._observations = ObservationCheck(self._space)
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
        space = self._space
        if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(self.frame_shape) > 1:
            return int(space.high.max())
        return int(_WHITE)

    def reset(self) -> Frames:
        """Start an episode; the first one seeds the environment, the others go on from there."""
        observation, info = self._first_reset or self._reset()
        self._first_reset = None
        self._num_steps = 0
        if self.has_legal_actions:
            self._note_legal_actions(observation, info)
        return self._frame(observation)

    def find_masks(self) -> None:
        """Set ``has_legal_actions`` before the first reset, which is made here and used later."""
        if self._reads_masks and self._first_reset is None:
            self._first_reset = self._reset()

    def expect_masks(self, *, has_legal_actions: bool) -> None:
        """Look for legal actions, or for none: what ``find_masks`` has found elsewhere."""
        self._reads_masks = self.has_legal_actions = has_legal_actions

    def step(self, action: int | F32) -> EnvStep:
        """Take one env_step: the action repeated, unless the episode ends before."""
        taken, reward = self._actions.decode(action), 0.0
        for _ in range(self._action_repeat):
            result = self._env.step(taken)
            observation, more, terminated, truncated, info = step_values(result)
            reward += more
            if terminated or truncated:
                break
        if self.has_legal_actions:
            self._note_legal_actions(observation, info)
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

    def _reset(self) -> tuple[Any, Info]:
        observation, info = reset_values(self._env.reset(seed=self._seed))
        if self._seed is not None and self._reads_masks:
            self._mask_source = find_source(self._env, observation, info)
            self.has_legal_actions |= self._mask_source is not None
        self._seed = None
        return observation, info

    def _note_legal_actions(self, observation: Any, info: Info) -> None:  # noqa: ANN401  anything
        given = self._mask_source and self._mask_source(self._env, observation, info)
        self.legal_actions = None if given is None else self._actions.mask(given)

    def _frame(self, observation: Any) -> Frames:  # noqa: ANN401  anything
        space = self._space
        if space is not self._env.observation_space:
            observation = seen(observation)
        array = self._observations.checked(observation)
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

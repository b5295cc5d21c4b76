"""Several environments that are reset and stepped together, without autoreset.

The factory builds one batch per actor or evaluator from single environments (Atari, gymnasium).
Nothing here knows a game, a network or a replay. Shapes: G = len(indices), *frame as in EnvSpec.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from efficientzero.schema import EnvSpec, EnvSteps, Frames


class EnvStep(NamedTuple):
    """What one environment answers to one action; ``terminated`` excludes ``truncated``."""

    frame: Frames  # [*frame]
    reward: float  # raw score
    terminated: bool
    truncated: bool
    game_over: bool  # the next reset starts a new game


class SingleEnv(Protocol):
    """One environment with discrete actions 0..num_actions - 1, seeded when it was built."""

    frame_shape: tuple[int, ...]  # (C, H, W) or (D,)
    frame_dtype: str  # "uint8" or "float32"
    num_actions: int

    def reset(self) -> Frames:
        """Start the next episode and return its first frame [*frame]."""

    def step(self, action: int) -> EnvStep:
        """Take one env_step."""

    def close(self) -> None:
        """Free what the environment holds."""


class EnvBatch(Protocol):
    """Environments 0..num_envs - 1; an ended one is reset by the caller before its next step.

    When a step ends an episode its frame is the episode's real last one. ``terminated`` and
    ``truncated`` are never both set: a task that ends exactly at its time limit has terminated.
    ``game_over`` says that the next reset starts a new game, at a time limit too; it is false at a
    mere life loss, so the score of a game is the sum of rewards up to ``game_over``.
    """

    spec: EnvSpec
    num_envs: int

    def reset(self, indices: Sequence[int]) -> Frames:
        """Start the next episode of these environments; return first frames [G, *frame]."""

    def step(self, indices: Sequence[int], actions: NDArray[np.integer[Any]]) -> EnvSteps:
        """Take one env_step in each of these environments, ``actions[g]`` in ``indices[g]``.

        Raises:
            ValueError: an environment has ended (or was never reset), or an action is unknown.
        """

    def close(self) -> None:
        """Close every environment."""


class SequentialEnvBatch:
    """An EnvBatch that steps its environments one after the other in the caller's thread."""

    def __init__(self, spec: EnvSpec, envs: Sequence[SingleEnv]) -> None:
        self.spec = spec
        self.num_envs = len(envs)
        self._envs = list(envs)
        self._needs_reset = [True] * len(envs)

    def reset(self, indices: Sequence[int]) -> Frames:
        """Start the next episode of these environments; return first frames [G, *frame]."""
        frames = self._empty_frames(len(indices))
        for row, index in enumerate(indices):
            frames[row] = self._envs[index].reset()
            self._needs_reset[index] = False
        return frames

    def step(self, indices: Sequence[int], actions: NDArray[np.integer[Any]]) -> EnvSteps:
        """Take one env_step in each of these environments, ``actions[g]`` in ``indices[g]``."""
        self._check_step(indices, actions)
        steps = EnvSteps(
            frames=self._empty_frames(len(indices)),
            rewards=np.zeros(len(indices), np.float32),
            terminated=np.zeros(len(indices), np.bool_),
            truncated=np.zeros(len(indices), np.bool_),
            game_over=np.zeros(len(indices), np.bool_),
        )
        for row, index in enumerate(indices):
            step = self._envs[index].step(int(actions[row]))
            for column, entry in zip(steps, step, strict=True):
                column[row] = entry
            self._needs_reset[index] = step.terminated or step.truncated
        return steps

    def close(self) -> None:
        """Close every environment."""
        for env in self._envs:
            env.close()

    def _empty_frames(self, num_frames: int) -> Frames:
        return np.empty((num_frames, *self.spec.frame_shape), self.spec.frame_dtype)

    def _check_step(self, indices: Sequence[int], actions: NDArray[np.integer[Any]]) -> None:
        if actions.shape != (len(indices),):
            raise ValueError(f"actions: got shape {actions.shape}, wanted ({len(indices)},)")
        if len(set(indices)) != len(indices):
            raise ValueError(f"indices: got {list(indices)}, wanted each environment at most once")
        ended = [index for index in indices if self._needs_reset[index]]
        if ended:
            raise ValueError(f"environments {ended} have ended; reset them before the next step")
        unknown = actions[(actions < 0) | (actions >= self.spec.num_actions)]
        if unknown.size:
            raise ValueError(f"actions: got {unknown[0]}, wanted 0..{self.spec.num_actions - 1}")

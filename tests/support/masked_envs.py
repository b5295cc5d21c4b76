"""Environments that say which actions are legal, in each of the ways that gymnasium's users do."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from efficientzero.envs.games.catch import COLUMNS, CatchEnv

LENGTH = 7


class MaskedEnv(gymnasium.Env[Any, Any]):
    """Random masks; an illegal action is an error, so that a run with one cannot go on."""

    def __init__(
        self,
        way: str = "info",
        space: spaces.Space[Any] | None = None,
        *,
        truncates: bool = False,
        shows_last_mask: bool = True,
    ) -> None:
        """Say masks in ``info``, in the ``observation``, or by a ``method``."""
        self.action_space = space or spaces.Discrete(5)
        self.way, self.truncates, self.shows_last_mask = way, truncates, shows_last_mask
        seen = spaces.Box(-1, 1, (3,), np.float32)
        mask = spaces.Box(0, 1, (self.num_flags,), np.int8)
        self.observation_space = (
            spaces.Dict(observation=seen, action_mask=mask) if way == "observation" else seen
        )
        self.mask = np.ones(self.num_flags, np.int8)
        self.played: list[Any] = []
        self.t = 0
        if way == "method":
            self.action_masks = lambda: self.mask

    @property
    def num_flags(self) -> int:
        if isinstance(self.action_space, spaces.MultiDiscrete):
            return int(self.action_space.nvec.sum())
        return int(self.action_space.n)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._shown()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.played.append(action)
        if isinstance(self.action_space, spaces.MultiDiscrete):
            starts = np.cumsum([0, *self.action_space.nvec[:-1]])
            assert self.mask[starts + action].all(), "an illegal action"
        else:
            assert self.mask[action], "an illegal action"
        self.t += 1
        over = self.t == LENGTH
        observation, info = self._shown(has_mask=not over or self.shows_last_mask)
        return observation, 1.0, over and not self.truncates, over and self.truncates, info

    def _shown(self, *, has_mask: bool = True) -> tuple[Any, dict[str, Any]]:
        self.mask = (self.np_random.random(self.num_flags) < 0.4).astype(np.int8)
        nvec = getattr(self.action_space, "nvec", [self.num_flags])
        for start in np.cumsum([0, *nvec[:-1]]):
            self.mask[start] = 1
        seen = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        if self.way == "observation":
            return {"observation": seen, "action_mask": self.mask.copy()}, {}
        shows = self.way == "info" and has_mask
        return seen, {"action_mask": self.mask.copy()} if shows else {}


class MaskedCatch(CatchEnv):
    """Catch in which moving off the board is illegal."""

    def action_masks(self) -> np.ndarray[Any, Any]:
        """Return which of left, stay and right are legal."""
        return np.array([self._paddle_column > 0, True, self._paddle_column < COLUMNS - 1])

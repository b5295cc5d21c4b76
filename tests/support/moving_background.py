"""Catch before a background that moves and means nothing: what reconstruction learns in vain.

    python launch.py --local --preset catch --env tests.support.moving_background:CatchOnNoise-v0

A background of random pixels, new in each game, drifts by one column per env_step. Ball and paddle
are brighter than any of it, so the game stays as easy to see as before.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from efficientzero.envs.games.catch import CatchEnv
from efficientzero.schema import U8

BRIGHTEST = 127


class MovingBackground(gymnasium.Wrapper[U8, int, U8, int]):
    """Lays uint8 frames [H, W] over random pixels of 0..BRIGHTEST; dark pixels show them."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[U8, dict[str, Any]]:
        """Begin a game before a new background."""
        frame, info = self.env.reset(seed=seed, options=options)
        random = self.unwrapped.np_random
        self._background = random.integers(0, BRIGHTEST + 1, frame.shape, np.uint8)
        return self._laid_over(frame), info

    def step(self, action: int) -> tuple[U8, float, bool, bool, dict[str, Any]]:
        """Make a step; the background moves by one column."""
        frame, reward, terminated, truncated, info = self.env.step(action)
        self._background = np.roll(self._background, 1, axis=1)
        return self._laid_over(frame), float(reward), terminated, truncated, info

    def _laid_over(self, frame: U8) -> U8:
        return np.maximum(frame, self._background)


def catch_on_noise() -> MovingBackground:
    return MovingBackground(CatchEnv())


gymnasium.register("CatchOnNoise-v0", catch_on_noise)

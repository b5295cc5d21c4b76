"""Catch: a ball falls down a small pixel board, a paddle at the bottom moves to catch it.

A whole game is nine env_steps and costs microseconds, so training on pixels can be tested in
minutes on a laptop. Built by the factory for the id ``Catch-v0``; knows nothing else.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from efficientzero.schema import U8

ROWS = 10
COLUMNS = 5


class CatchEnv(gymnasium.Env[U8, int]):
    """Actions 0, 1, 2 move the paddle left, not at all, right; +1 for a catch, -1 for a miss.

    Observations are uint8 [ROWS, COLUMNS], 255 where the ball or the paddle is. Only the last
    env_step is rewarded; by then the paddle can have reached any column.
    """

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 255, (ROWS, COLUMNS), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(3)  # type: ignore[assignment]
        self._ball_row = 0
        self._ball_column = 0
        self._paddle_column = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[U8, dict[str, Any]]:
        """Put the ball into a random column of the top row and the paddle into the middle."""
        super().reset(seed=seed, options=options)
        self._ball_row = 0
        self._ball_column = int(self.np_random.integers(COLUMNS))
        self._paddle_column = COLUMNS // 2
        return self._board(), {}

    def step(self, action: int) -> tuple[U8, float, bool, bool, dict[str, Any]]:
        """Move the paddle by ``action - 1`` columns and let the ball fall by one row."""
        self._paddle_column = min(max(self._paddle_column + action - 1, 0), COLUMNS - 1)
        self._ball_row += 1
        has_landed = self._ball_row == ROWS - 1
        reward = 0.0
        if has_landed:
            reward = 1.0 if self._ball_column == self._paddle_column else -1.0
        return self._board(), reward, has_landed, False, {}

    def _board(self) -> U8:
        board = np.zeros((ROWS, COLUMNS), np.uint8)
        board[self._ball_row, self._ball_column] = 255
        board[ROWS - 1, self._paddle_column] = 255
        return board

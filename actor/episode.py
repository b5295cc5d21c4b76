"""Running totals of one environment's game: raw score and length, across lost lives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GameResult:
    """A finished game."""

    episode_return: float
    """Raw score."""
    length: int
    """env_steps."""


class GameTally:
    """Adds up one environment's rewards until its game is over."""

    def __init__(self) -> None:
        self._episode_return, self._length = 0.0, 0

    def add(self, reward: float, *, game_over: bool) -> GameResult | None:
        """Count one env_step; return the game's result when it was the last."""
        self._episode_return += reward
        self._length += 1
        if not game_over:
            return None
        result = GameResult(self._episode_return, self._length)
        self._episode_return, self._length = 0.0, 0
        return result

"""Finished games: what one environment's steps add up to, and what an actor reports of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from efficientzero.schema import I64, EnvSteps


@dataclass(frozen=True, slots=True)
class GameResult:
    """A finished game."""

    episode_return: float
    """Raw score."""
    length: int
    """env_steps."""


class GameTally:
    """Sums one environment's rewards until its game is over."""

    def __init__(self) -> None:
        self._episode_return, self._length = 0.0, 0

    def add(self, reward: float, *, game_over: bool, mover: int = 0) -> GameResult | None:
        """Add one env_step; return the game's result if it was the last.

        With two players the result is player 0's: what ``mover`` 1 earned, player 0 lost.
        """
        self._episode_return += -reward if mover else reward
        self._length += 1
        if not game_over:
            return None
        result = GameResult(self._episode_return, self._length)
        self._episode_return, self._length = 0.0, 0
        return result


class FinishedGames:
    """The games of an actor's environments; each is reported once and logged once."""

    def __init__(self, num_envs: int) -> None:
        """Start with E games."""
        self.count = 0
        """Ended ones."""
        self._tallies = [GameTally() for _ in range(num_envs)]
        self._not_reported: list[GameResult] = []
        self._not_logged: list[GameResult] = []

    def add(
        self, envs: Sequence[int], steps: EnvSteps, players: I64 | None = None
    ) -> dict[int, GameResult]:
        """Add an env_step of each of ``envs``; return the games that it ended.

        Args:
            envs: G environments.
            steps: of these.
            players: i64 [E] whose results count, 0 or 1; None: player 0's.
        """
        ended = {}
        for row, i in enumerate(envs):
            is_over = bool(steps.game_over[row] or steps.truncated[row])
            mover = mover_of(steps, row)
            if players is not None:
                mover = int(mover != players[i])
            finished = self._tallies[i].add(
                float(steps.rewards[row]), game_over=is_over, mover=mover
            )
            if finished is not None:
                self._not_reported.append(finished)
                self._not_logged.append(finished)
                self.count += 1
                ended[i] = finished
        return ended

    @property
    def not_reported(self) -> list[tuple[float, int]]:
        """Returns and lengths of those that ``reported`` has not been called for."""
        return [(result.episode_return, result.length) for result in self._not_reported]

    def reported(self) -> None:
        """Note that all are reported."""
        self._not_reported = []

    def take_row(self) -> dict[str, float]:
        """Return the metrics of the games that ended since the last call; empty if none did."""
        results, self._not_logged = self._not_logged, []
        if not results:
            return {}
        return {
            "actor/return_mean": float(np.mean([result.episode_return for result in results])),
            "actor/length_mean": float(np.mean([result.length for result in results])),
        }


def mover_of(steps: EnvSteps, row: int) -> int:
    """Return which player took the env_step of a row; moves alternate, 0 with one player."""
    to_play = steps.observed.to_play
    return 0 if to_play is None else 1 - int(to_play[row])

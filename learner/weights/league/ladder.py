"""Games of evaluations, and the ratings that follow from them; pure state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from learner.weights.league.ratings import rate

Player = int | str
"""The train_step of weights, or a baseline's name."""

_ANCHOR = "random"


class Rated(NamedTuple):
    """A player's rating from all games of evaluations."""

    points: float  # 400 are odds of 10 to 1; the anchor has 0
    half_width: float  # of the 95 % interval
    games: int


_UNRATED = Rated(0.0, 0.0, 0)


class EvaluationGames:
    """Games that weights played without exploration against baselines and other weights."""

    def __init__(self, baselines: Sequence[str]) -> None:
        """Start without games; ``random``, or else the first baseline, is the anchor at 0 points.

        Args:
            baselines: at least one.
        """
        anchor = _ANCHOR if _ANCHOR in baselines else baselines[0]
        self._baselines = [anchor, *(name for name in baselines if name != anchor)]
        self._games: dict[tuple[int, Player], list[float]] = {}  # points and games of the first
        self._ratings: dict[Player, Rated] | None = None  # None: not computed since the last game

    @property
    def newest(self) -> int | None:
        """Train_step of the newest weights that were evaluated; None before the first."""
        return max((train_step for train_step, _ in self._games), default=None)

    def add(self, train_step: int, opponent: Player, score: float) -> None:
        """Add one game.

        Args:
            train_step: of the weights evaluated.
            opponent: other weights, or a baseline.
            score: of the weights evaluated, 1, 0.5 or 0.

        Raises:
            ValueError: weights against themselves, or a baseline that is unknown.
        """
        if opponent == train_step or (
            isinstance(opponent, str) and opponent not in self._baselines
        ):
            raise ValueError(
                f"opponent of train_step {train_step}: got {opponent}, wanted other weights or "
                f"one of {', '.join(self._baselines)}"
            )
        counts = self._games.setdefault((train_step, opponent), [0.0, 0.0])
        counts[0] += score
        counts[1] += 1.0
        self._ratings = None

    def rating(self, player: Player) -> Rated:
        """Return a player's rating; of one without games 0 points and 0 games."""
        if self._ratings is None:
            self._ratings = self._rate()
        return self._ratings.get(player, _UNRATED)

    def state(self) -> list[list[float | str]]:
        """Return [train_step, opponent, points, games] of each pair, as JSON values."""
        return [[*pair, *counts] for pair, counts in self._games.items()]

    def restore(self, state: Iterable[Sequence[float | str]]) -> None:
        """Take what ``state`` returned."""
        self._games = {}
        for train_step, opponent, points, games in state:
            key = (int(train_step), opponent if isinstance(opponent, str) else int(opponent))
            self._games[key] = [float(points), float(games)]
        self._ratings = None

    def _rate(self) -> dict[Player, Rated]:
        players: list[Player] = [*self._baselines]
        players += sorted(
            {player for pair in self._games for player in pair if isinstance(player, int)}
        )
        place = {player: i for i, player in enumerate(players)}
        wins = np.zeros((len(players), len(players)))
        for (first, second), (points, games) in self._games.items():
            wins[place[first], place[second]] += points
            wins[place[second], place[first]] += games - points
        found, played = rate(wins), wins.sum(0) + wins.sum(1)
        return {
            player: Rated(float(found.points[i]), float(found.half_widths[i]), round(played[i]))
            for player, i in place.items()
        }

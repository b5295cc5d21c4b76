"""Scores of games won, drawn and lost, with intervals. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_Z = 1.959963984540054
"""Of 95 %."""
_RESAMPLES = 9_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Games of one player against another."""

    wins: int = 0
    draws: int = 0
    losses: int = 0

    def __add__(self, other: Score) -> Score:
        """Return both players' games in other seats together."""
        return Score(
            wins=self.wins + other.wins,
            draws=self.draws + other.draws,
            losses=self.losses + other.losses,
        )

    @property
    def games(self) -> int:
        """All of them."""
        return self.wins + self.draws + self.losses

    @property
    def share(self) -> float:
        """(wins + draws / 2) / games; NaN without games."""
        return (self.wins + self.draws / 2) / self.games if self.games else math.nan

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of ``share``.

        Wilson's; where games were drawn, which it does not know, the percentiles of a bootstrap
        over the games.
        """
        if not self.games:
            return math.nan, math.nan
        if not self.draws:
            return wilson(self.wins, self.games)
        counts = np.array([self.wins, self.draws, self.losses])
        drawn = np.random.default_rng(0).multinomial(self.games, counts / self.games, _RESAMPLES)
        low, high = np.percentile(drawn @ [1.0, 0.5, 0.0] / self.games, [2.5, 97.5])
        return float(low), float(high)

    @classmethod
    def of(cls, outcome: float) -> Score:
        """Return the score of one game that earned ``outcome``."""
        return cls(wins=int(outcome > 0), draws=int(outcome == 0), losses=int(outcome < 0))


def wilson(wins: int, games: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of wins (Wilson 1927)."""
    share, spread = wins / games, _Z**2 / games
    centre = share + spread / 2
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4)
    return max(0.0, (centre - half) / (1 + spread)), min(1.0, (centre + half) / (1 + spread))

"""How the newest weights did against each opponent, mostly of late."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_DECAY = 0.99
"""Of an opponent's counts, with each game against it: some hundred games count."""

_COLUMNS = {1.0: 0, 0.5: 1, 0.0: 2}
"""Score of the newest weights in one game: won, drawn or lost."""


class GameTable:
    """Decayed counts of games won, drawn and lost, by the opponent's name."""

    def __init__(self) -> None:
        """Start without games."""
        self._counts: dict[str, list[float]] = {}

    def add(self, opponent: str, score: float) -> None:
        """Add one game, of which the newest weights won 1, 0.5 or 0.

        Raises:
            ValueError: the score is none of a game.
        """
        if score not in _COLUMNS:
            raise ValueError(f"score: got {score}, wanted one of 0, 0.5, 1")
        counts = [_DECAY * count for count in self._counts.get(opponent, (0.0, 0.0, 0.0))]
        counts[_COLUMNS[score]] += 1.0
        self._counts[opponent] = counts

    def estimate(self, opponent: str) -> float:
        """Return (w + d / 2 + 1) / (w + d + l + 2), the share of a game that is likely won.

        0.5 of an opponent without games.
        """
        won, drawn, lost = self._counts.get(opponent, (0.0, 0.0, 0.0))
        return (won + drawn / 2 + 1.0) / (won + drawn + lost + 2.0)

    def state(self) -> dict[str, list[float]]:
        """Return the counts won, drawn and lost by opponent, as JSON values."""
        return {name: list(counts) for name, counts in self._counts.items()}

    def restore(self, state: Mapping[str, list[float]], *, known: Collection[str]) -> None:
        """Take the counts of ``state``, of opponents that are still ``known``."""
        self._counts = {name: list(counts) for name, counts in state.items() if name in known}

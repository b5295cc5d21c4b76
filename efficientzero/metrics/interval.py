"""The time between two metric rows of a role, and how much of each count falls into it."""

from __future__ import annotations

import time
from collections.abc import Callable

_SHORTEST_S = 1e-9


class Interval:
    """Begins where the one before it ended; used by one thread."""

    def __init__(
        self,
        length_s: float = 0.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        **counts: float,
    ) -> None:
        """Begin now; it is over after ``length_s`` seconds. Counts not given start at 0."""
        self._length_s, self._clock = length_s, clock
        self._since = clock()
        self._counts = counts

    def is_over(self) -> bool:
        """Return whether the next row is due."""
        return self._clock() - self._since >= self._length_s

    def restart(self, **counts: float) -> tuple[float, dict[str, float]]:
        """Begin the next interval now.

        Args:
            counts: by name, counted from the start of the process.

        Returns:
            The seconds of the interval that ends, and the growth per second of each count in it.
        """
        now = self._clock()
        elapsed_s = max(now - self._since, _SHORTEST_S)
        rates = {
            name: (count - self._counts.get(name, 0)) / elapsed_s for name, count in counts.items()
        }
        self._since = now
        self._counts.update(counts)
        return elapsed_s, rates

"""Rates of search: searches, simulations and network evaluations per second.

Used by the roles that search.
"""

from __future__ import annotations


class SearchRates:
    """Counts the roots of one planner between two rows."""

    def __init__(self, role: str, *, num_simulations: int, batch_size: int) -> None:
        """Count ``role``'s searches of ``num_simulations``, run in batches of ``batch_size``."""
        self._role, self._num_simulations, self._batch_size = role, num_simulations, batch_size
        self._roots = self._batches = 0

    def add(self, roots: int) -> None:
        """Count one batch of ``roots`` roots, searched together."""
        self._roots += roots
        self._batches += 1

    def row(self, elapsed_s: float) -> dict[str, float]:
        """Return the rates over ``elapsed_s`` seconds and reset the counts.

        A batch of fewer roots than ``batch_size`` costs the network as much as a full one, so
        recurrent inferences count rows of the network's batches, simulations only wanted ones.
        """
        per_s = self._num_simulations / max(elapsed_s, 1e-9)
        row = {
            f"{self._role}/searches_per_s": self._roots / max(elapsed_s, 1e-9),
            f"{self._role}/simulations_per_s": self._roots * per_s,
            f"{self._role}/recurrent_inferences_per_s": self._batches * self._batch_size * per_s,
        }
        self._roots = self._batches = 0
        return row

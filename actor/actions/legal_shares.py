"""How many actions are legal at an actor's roots, averaged over an interval."""

from __future__ import annotations

from collections.abc import Mapping

from efficientzero.schema import Bool


class LegalShares:
    """Sums over roots; a row of means starts the next interval."""

    def __init__(self) -> None:
        """Start the first interval."""
        self._share, self._forced, self._num_roots = 0.0, 0, 0

    def add(self, legal_actions: Bool | None) -> None:
        """Count roots, bool [B, A]; None, where all actions are always legal: nothing."""
        if legal_actions is None:
            return
        counts = legal_actions.sum(axis=1)
        self._share += float(counts.sum()) / legal_actions.shape[1]
        self._forced += int((counts == 1).sum())
        self._num_roots += len(counts)

    def take_row(self) -> Mapping[str, float]:
        """Return the means since the last call; empty if there were no masks.

        ``legal_share``, the mean share of legal actions; ``forced_share``, the share of roots with
        a single one.
        """
        num_roots = self._num_roots
        row = {
            "actor/legal_share": self._share / max(1, num_roots),
            "actor/forced_share": self._forced / max(1, num_roots),
        }
        self._share, self._forced, self._num_roots = 0.0, 0, 0
        return row if num_roots else {}

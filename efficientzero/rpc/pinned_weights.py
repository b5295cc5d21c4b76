"""Weights of a prescribed train_step, for deterministic runs.

Replaces a ``WeightClient`` in the loops of actor and reanalyzer.
"""

from __future__ import annotations

from collections.abc import Callable

from efficientzero.rpc.weight_client import WeightClient, Weights


class PinnedWeights:
    """Weights of exactly the train_step that is due."""

    def __init__(self, client: WeightClient, due_train_step: Callable[[], int | None]) -> None:
        """Keep the parts.

        Args:
            client: fetches the weights.
            due_train_step: returns the train_step of the weights to use; may wait; None on stop.
        """
        self._client, self._due_train_step = client, due_train_step

    def wait_first(self, what: str) -> bool:
        """Wait until any weights are there; return False on stop."""
        return self._client.wait_first(what)

    def take_newer(self) -> Weights | None:
        """Wait for the weights that are due; None if they are in use already, or on stop."""
        train_step = self._due_train_step()
        return None if train_step is None else self._client.take_at(train_step)

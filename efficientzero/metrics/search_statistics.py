"""How search results differ from the network's predictions, averaged over an interval.

Filled by actors and reanalyzers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from efficientzero.schema import F32, SearchResult

_TINY = 1e-12


class SearchStatistics:
    """Sums over roots; a row of means starts the next interval."""

    def __init__(self, role: str) -> None:
        """Name the metrics ``<role>/...``."""
        self._role = role
        self._sums: dict[str, float] = {}
        self._num_roots = 0

    def add(self, result: SearchResult) -> None:
        """Count the roots of one search."""
        policies, log_priors = result.policies, log_softmax(result.prior_logits)
        plogp = policies * np.log(np.maximum(policies, _TINY))  # [B, A]
        difference = result.root_values - result.predicted_values
        columns = {
            "search_entropy": -plogp,
            "search_prior_kl": plogp - policies * log_priors,
            "search_prior_agreement": policies.argmax(1) == log_priors.argmax(1),
            "search_depth": result.search_depths,
            "value_gain": difference,
            "value_gap": np.abs(difference),
        }
        for name, column in columns.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(column.sum())
        self._num_roots += len(policies)

    def take_row(self) -> Mapping[str, float]:
        """Return the means since the last call; empty if nothing was searched.

        ``search_entropy`` of the search's policy and ``search_prior_kl``, KL(search || prior), in
        nats; ``search_prior_agreement``, the share of roots where both prefer the same action;
        ``search_depth`` of the deepest leaf; ``value_gain`` and ``value_gap``, the root's search
        value minus the network's, and the absolute of that.
        """
        sums, num_roots = self._sums, self._num_roots
        self._sums, self._num_roots = {}, 0
        if not num_roots:
            return {}
        return {f"{self._role}/{name}": sum_ / num_roots for name, sum_ in sums.items()}


def log_softmax(logits: F32) -> F32:
    """Return the log-probabilities of ``logits``, f32 [B, A]."""
    shifted = logits - logits.max(1, keepdims=True)
    log_probabilities: F32 = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return log_probabilities

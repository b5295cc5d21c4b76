"""How search results differ from the network's predictions, averaged over an interval.

Filled by actors and reanalyzers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from efficientzero.schema import F32, Bool, SearchResult

_TINY = 1e-12
_ILLEGAL = -1e8
"""Below it are the prior logits of illegal actions."""


class SearchStatistics:
    """Sums over roots; a row of means starts the next interval."""

    def __init__(self, role: str) -> None:
        """Name the metrics ``<role>/...``."""
        self._role = role
        self._clear()

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
        self._add_prior_entropy(result.prior_logits > _ILLEGAL, log_priors)

    def _add_prior_entropy(self, is_legal: Bool, log_priors: F32) -> None:
        """Add the roots that have a choice; bool and f32 [B, A]."""
        num_legal = is_legal.sum(1)
        entropies = -(np.exp(log_priors) * log_priors).sum(1)  # [B], illegal: 0 times -1e9
        has_choice = num_legal > 1
        self._num_choices += int(has_choice.sum())
        shares = entropies[has_choice] / np.log(num_legal[has_choice])
        self._sum_of_shares += float(shares.sum())

    def take_row(self) -> Mapping[str, float]:
        """Return the means since the last call; empty if nothing was searched.

        ``search_entropy`` of the search's policy and ``search_prior_kl``, KL(search || prior), in
        nats; ``search_prior_agreement``, the share of roots where both prefer the same action;
        ``prior_entropy_share``, the prior's entropy over that of a uniform one on the legal
        actions, of roots with at least two of them; ``search_depth`` of the deepest leaf;
        ``value_gain`` and ``value_gap``, the root's search value minus the network's, and the
        absolute of that.
        """
        if not self._num_roots:
            return {}
        sums, num_roots = self._sums, self._num_roots
        row = {f"{self._role}/{name}": sum_ / num_roots for name, sum_ in sums.items()}
        if self._num_choices:
            row[f"{self._role}/prior_entropy_share"] = self._sum_of_shares / self._num_choices
        self._clear()
        return row

    def _clear(self) -> None:
        self._sums: dict[str, float] = {}
        self._sum_of_shares = 0.0
        self._num_roots = self._num_choices = 0


def log_softmax(logits: F32) -> F32:
    """Return the log-probabilities of ``logits``, f32 [B, A]."""
    shifted = logits - logits.max(1, keepdims=True)
    log_probabilities: F32 = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return log_probabilities

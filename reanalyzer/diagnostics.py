"""Statistics of the batches of one metrics interval: ages, horizons, masks, searches.

Filled by the target maker batch by batch, logged by the reanalyzer's loop.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from efficientzero.metrics import SearchStatistics
from efficientzero.schema import F32, I32, I64, Bool, SearchResult, SliceBatch

_OLD = 95.0  # percentile


class Newest:
    """The newest env_step and train_step seen in samples; ages are relative to them.

    A reanalyzer gets no progress reports of learner and actors, so it estimates progress from its
    samples. While no step has been evicted, the table's size is the number of env_steps; later it
    is that of the newest step seen, which lags by about the table's size over the batch size.
    """

    def __init__(self) -> None:
        self.env_step = 0
        """Env_steps that are in replay."""
        self.train_step = 0
        """Train_step of the newest weights that acted or made targets."""

    def update(self, slices: SliceBatch, target_train_step: int) -> None:
        """Update from sampled slices."""
        seen = max(int(slices.env_steps.max()) + 1, int(slices.table_sizes.max()))
        self.env_step = max(self.env_step, seen)
        acted = int(slices.weights_versions.max())
        self.train_step = max(self.train_step, acted, target_train_step)


class BatchDiagnostics:
    """Sums over batches; ``take_row`` starts the next interval."""

    def __init__(self) -> None:
        self._searches = SearchStatistics("reanalyzer")
        self._start()

    def add_batch(
        self,
        slices: SliceBatch,
        newest: Newest,
        *,
        target_train_step: int,
        td_steps: I32,
        action_mask: Bool,
        bootstraps: Bool,
    ) -> None:
        """Count one batch.

        Args:
            slices: the slices it was made from.
            newest: reference point of the ages.
            target_train_step: of the target weights.
            td_steps: i32 [B], 0 where value targets are a search's.
            action_mask: bool [B, K + Q].
            bootstraps: bool [B, K + 1], where a value target contains a value of the model.
        """
        self._num_batches += 1
        self._train_step_ages.append(newest.train_step - slices.weights_versions)
        for name, value in (
            ("sample_age_env_steps", (newest.env_step - slices.env_steps).mean()),
            ("position", slices.positions.mean()),
            ("td_steps", td_steps.mean()),
            ("masked_share", 1.0 - action_mask.mean()),
            ("bootstrap_share", bootstraps.mean()),
            ("target_staleness", newest.train_step - target_train_step),
        ):
            self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def add_value_targets(self, takes_search: Bool, differences: F32) -> None:
        """Count the sources of one batch's value targets.

        Args:
            takes_search: bool [B], the slices whose value targets are a search's.
            differences: f32 [N, K + 1] of the other slices, root value minus n-step return; NaN
                where there was no search.
        """
        name = "search_value_share"
        self._sums[name] = self._sums.get(name, 0.0) + float(takes_search.mean())
        known = differences[~np.isnan(differences)]
        self._difference += float(known.sum())
        self._num_differences += known.size

    def add_searches(self, policy_roots: SearchResult) -> None:
        """Count the results of the searches for policies."""
        self._searches.add(policy_roots)

    def take_row(self) -> Mapping[str, float]:
        """Return means since the last call, or since the start.

        Ages are in train_steps (mean and 95th percentile) and env_steps; ``target_staleness`` is
        how many train_steps the target weights are behind the newest weights seen.
        """
        row = {
            **{f"reanalyzer/{name}": sum_ / self._num_batches for name, sum_ in self._sums.items()},
            **self._searches.take_row(),
        }
        if self._num_differences:
            row["reanalyzer/search_minus_td"] = self._difference / self._num_differences
        if self._train_step_ages:
            ages = np.concatenate(self._train_step_ages)
            row["reanalyzer/sample_age"] = float(ages.mean())
            row["reanalyzer/sample_age_p95"] = float(np.percentile(ages, _OLD))
        self._start()
        return row

    def _start(self) -> None:
        self._num_batches = 0
        self._difference, self._num_differences = 0.0, 0
        self._sums: dict[str, float] = {}
        self._train_step_ages: list[I64] = []

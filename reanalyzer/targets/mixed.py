"""EfficientZero V2's mixed value targets: n-step returns for new data, searches for old.

Returns are accurate for data of the current policy and need no good model; searches are accurate
for any data once the model is good.
"""

from __future__ import annotations

import numpy as np

from efficientzero.config import Config
from efficientzero.schema import Bool
from reanalyzer.targets.search import SearchTarget
from reanalyzer.targets.td import TdTarget
from reanalyzer.targets.value_target import Estimates, Needs, Sample, ValueTargets


class MixedTarget:
    """Chooses for each slice, by its age in env_steps."""

    def __init__(self, config: Config) -> None:
        """Build both targets; new data needs no off-policy correction."""
        self._reanalyzer = config.reanalyzer
        self._td = TdTarget(config, off_policy_correction=False)
        self._search = SearchTarget(config)

    def needs(self, sample: Sample) -> Needs:
        """Return the needs of each slice's chosen target."""
        by_search = self._by_search(sample)[:, None]
        td, search = self._td.needs(sample), self._search.needs(sample)
        return Needs(td.values & ~by_search, search.roots & by_search)

    def targets(self, sample: Sample, found: Estimates) -> ValueTargets:
        """Return the chosen target of each slice."""
        by_search = self._by_search(sample)
        td, search = self._td.targets(sample, found), self._search.targets(sample, found)
        return ValueTargets(
            np.where(by_search[:, None], search.values, td.values),
            np.where(by_search, search.td_steps, td.td_steps),
            np.where(by_search[:, None], search.bootstraps, td.bootstraps),
        )

    def _by_search(self, sample: Sample) -> Bool:
        """Return which slices use search values, bool [B]."""
        is_good = sample.target_train_step >= self._reanalyzer.mixed_start_train_steps
        return is_good & (sample.env_step_ages >= self._reanalyzer.mixed_fresh_env_steps)

"""Values of searches: each position's target is the root value of a search of its observation."""

from __future__ import annotations

import numpy as np

from efficientzero.config import Config
from efficientzero.schema import Bool
from reanalyzer.targets.slice_targets import bootstrap_offsets
from reanalyzer.targets.value_target import Estimates, Needs, Sample, ValueTargets


class SearchTarget:
    """Accurate for data of any age once the model is good."""

    def __init__(self, config: Config) -> None:
        """Keep K."""
        self._num_steps = config.agent.num_unroll_steps

    def needs(self, sample: Sample) -> Needs:
        """Return needs: a search of each real observation."""
        no_values = np.zeros(sample.slices.root_values.shape, np.bool_)
        return Needs(no_values, self._have_value(sample))

    def targets(self, sample: Sample, found: Estimates) -> ValueTargets:
        """Return the root values; 0 past the end, and at a terminated end."""
        have_value = self._have_value(sample)
        values = np.where(have_value, found.root_values, np.float32(0.0))
        return ValueTargets(values, np.zeros(len(values), np.int32), have_value)

    def _have_value(self, sample: Sample) -> Bool:
        """Return real observations, the last one of a truncated episode included: [B, K + 1]."""
        at_once = np.zeros(len(sample.env_step_ages), np.int32)
        return bootstrap_offsets(sample.ends, at_once, self._num_steps)[1]

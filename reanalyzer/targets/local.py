"""n-step returns without their bootstraps, which the learner adds (``learner.target_network``)."""

from __future__ import annotations

import numpy as np

from efficientzero.config import Config
from reanalyzer.targets.slice_targets import bootstrap_offsets, partial_returns
from reanalyzer.targets.td import slice_td_steps
from reanalyzer.targets.value_target import Completion, Estimates, Needs, Sample, ValueTargets


class LocalTarget:
    """The rewards of ``TdTarget``, and where the learner finds the value that follows them."""

    def __init__(self, config: Config) -> None:
        """Store the settings."""
        self._config = config

    def needs(self, sample: Sample) -> Needs:
        """Return no needs: the learner's network values the bootstraps."""
        slices, steps = sample.slices, self._config.agent.num_unroll_steps
        no_roots = np.zeros((len(slices.keys), steps + 1), np.bool_)
        return Needs(np.zeros(slices.root_values.shape, np.bool_), no_roots)

    def targets(self, sample: Sample, found: Estimates) -> ValueTargets:
        """Return the sums of rewards, with what completes them."""
        del found
        config = self._config
        td_steps = slice_td_steps(config, sample)
        offsets, bootstraps = bootstrap_offsets(
            sample.ends, td_steps, config.agent.num_unroll_steps
        )
        sums, discounts = partial_returns(
            sample.slices,
            sample.ends,
            bootstraps=bootstraps,
            td_steps=td_steps,
            discount=config.agent.discount,
        )
        completion = Completion(offsets, discounts.astype(np.float32))
        return ValueTargets(sums.astype(np.float32), td_steps, bootstraps, completion)

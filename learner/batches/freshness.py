"""Refuses training batches whose targets are too old.

Called by the learner's loop for every batch from the queue. Old batches come from a reanalyzer that
hung or received its weights late.
"""

from __future__ import annotations

import logging
import math

from efficientzero.config import Config, has_local_targets, num_fresh_policies, staleness_bound
from replay.format import TrainingBatch

log = logging.getLogger(__name__)


class Freshness:
    """Compares the age of targets with the bound and counts refused batches.

    A refused batch is dropped and another is sampled. The slices of the dropped batch stay in
    replay with their priorities; the new batch is drawn by the current priorities, so its
    probabilities are exact. A refused batch counts as no train_step, so the pace of env_steps does
    not change.

    Refusals end. While the learner waits for a batch it makes no train_step, so the newest
    published target weights T stay the newest. T is younger than one interval plus the lag, which
    is below the bound: every batch made with T is accepted. A reanalyzer uses T from the first
    batch after T has arrived, and the number of earlier batches is limited by the queue, its
    readers and the reanalyzers. In a deterministic run every batch is made with T, so none is
    refused and no turn is lost.
    """

    def __init__(self, config: Config) -> None:
        """Read the bound from the run's config; without any target in a batch there is none."""
        has_targets = not has_local_targets(config) or num_fresh_policies(
            config, config.learner.batch_size
        )
        self._bound = staleness_bound(config) if has_targets else math.inf
        self._num_refused = 0

    def admits(self, batch: TrainingBatch, train_step: int) -> bool:
        """Return whether ``batch`` may be trained on next; count it if not.

        Args:
            batch: as received from the queue.
            train_step: train_steps made so far.
        """
        age = train_step - int(batch.target_weights_versions.min())
        if age <= self._bound:
            return True
        if not self._num_refused:
            log.warning(
                "a training batch was made with target weights %d train_steps old, at most %d are "
                "allowed (learner.max_batch_staleness): this and other older ones are dropped",
                age,
                self._bound,
            )
        self._num_refused += 1
        return False

    def detail(self) -> str:
        """Return a text with the number of refusals since the last row; empty if none."""
        return f"{self._num_refused} were too old" if self._num_refused else ""

    def take_count(self) -> int:
        """Return the number of refusals since the last call."""
        count, self._num_refused = self._num_refused, 0
        return count

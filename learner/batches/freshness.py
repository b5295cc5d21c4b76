"""Refuses training batches whose targets are too old to be trained on.

Asked by the learner's loop for every batch that comes out of the queue. Such batches come from a
reanalyzer that hung, or whose weights came late.
"""

from __future__ import annotations

import logging

from efficientzero.config import Config, staleness_bound
from efficientzero.schema import TrainingBatch

log = logging.getLogger(__name__)


class Freshness:
    """Knows the bound and counts what it refused.

    What is refused is made anew: its slices stay in replay with the priorities they were drawn
    by, and the batch that comes instead is drawn by the priorities of now, so that its
    probabilities are exact. No train_step is counted, so the pace of env_steps is as if the batch
    had never been.

    The learner cannot refuse for ever. While it looks for a batch no train_step is made, so the
    newest target weights T published stay the newest. They are younger than an interval and their
    lag, and the bound is larger: every batch made with T is taken. A reanalyzer takes T before its
    next batch once it has arrived, and of those made before there are no more than the queue, its
    readers and the reanalyzers hold. In a deterministic run every batch is made with T: none is
    refused, so no turn is lost.
    """

    def __init__(self, config: Config) -> None:
        """Take the run's bound."""
        self._bound = staleness_bound(config)
        self._num_refused = 0

    def admits(self, batch: TrainingBatch, train_step: int) -> bool:
        """Tell whether ``batch`` may be the next one trained on; count it if not.

        Args:
            batch: as it came out of the queue.
            train_step: train_steps made so far.
        """
        age = train_step - int(batch.target_weights_versions.min())
        if age <= self._bound:
            return True
        if not self._num_refused:
            log.warning(
                "a training batch was made with target weights %d train_steps old, at most %d are "
                "trained on (learner.max_batch_staleness): it is made anew, as all like it",
                age,
                self._bound,
            )
        self._num_refused += 1
        return False

    def detail(self) -> str:
        """Say how many were refused since the last row; empty if none."""
        return f"{self._num_refused} were too old" if self._num_refused else ""

    def take_count(self) -> int:
        """Return how many were refused since the last call."""
        count, self._num_refused = self._num_refused, 0
        return count

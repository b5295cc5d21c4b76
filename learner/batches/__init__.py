"""Training batches between replay and the device: checks, transfer, augmentation."""

from learner.batches.checks import BatchChecks
from learner.batches.feeder import BatchFeeder, BatchSource, ReadyBatch
from learner.batches.freshness import Freshness
from learner.batches.loader import BatchLoader, pinned_array

__all__ = [
    "BatchChecks",
    "BatchFeeder",
    "BatchLoader",
    "BatchSource",
    "Freshness",
    "ReadyBatch",
    "pinned_array",
]

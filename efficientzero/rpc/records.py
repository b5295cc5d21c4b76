"""What the pace of a run is told in, as plain Python values.

Shared by both ends: the learner's governor fills them without knowing gRPC, actors get them
without knowing protobuf.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple


class Phase(IntEnum):
    """Where the run is; the numbers are those of ``Phase`` in run.proto."""

    WARMUP = 1
    """Collecting, not training yet."""
    COLLECTING = 2
    """Collecting and training."""
    LAST_STEPS = 3
    """Training only: the env_step budget is completed."""
    FINISHED = 4
    """Everything is collected and trained; seen from outside, the last weights are out too."""


class Grant(NamedTuple):
    """The env_steps an actor may play now."""

    granted: int  # 0..wanted; 0 means ask again, unless collection has ended
    collection_ended: bool  # no env_step will ever be granted again
    phase: Phase  # WARMUP: act at random in the granted env_steps; else the run's phase
    max_priority: float = 1.0  # largest recent priority: what new steps enter replay with
    env_steps: int = 0  # granted in the run before these

    @property
    def is_random(self) -> bool:
        """Whether the granted env_steps are the warm-up's: acted at random, without a search."""
        return self.phase is Phase.WARMUP


class BatchTurn(NamedTuple):
    """The turn to make one training batch in a deterministic run."""

    target_train_step: int  # train_steps behind the target weights to make it with
    keys: Sequence[int]  # items of the batch before
    priorities: Sequence[float]  # their new priorities

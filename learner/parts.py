"""What the learner's loop is given: parts to work with, and an observer of what it does.

Built by ``learner.__main__``, or by a test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from efficientzero.metrics import Tracker
from efficientzero.process.runtime import StopSignal
from efficientzero.runs.lease import Lease
from efficientzero.schema import TrainingBatch
from learner.batches import BatchSource
from learner.cluster import Starvation
from learner.pacing import Governor
from learner.records import CheckpointSaver, FairnessRecord, PrioritySink, RunRecord
from learner.training import Alone, Ranks
from learner.weights import WeightPublisher


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerParts:
    """What the learner's loop works with; most of it talks to other processes or threads."""

    device: torch.device
    """Where to train."""
    batches: BatchSource
    """The training queue."""
    priorities: PrioritySink | None
    """Back to replay; None where replay is uniform and has none."""
    publisher: WeightPublisher
    governor: Governor
    saver: CheckpointSaver
    tracker: Tracker
    stop: StopSignal
    """Ends ``Learner.run``."""
    ranks: Ranks = field(default_factory=Alone)
    """Those that train along."""


class TrainingObserver(Protocol):
    """What the learner's loop reports, and what it asks for; called from its thread."""

    def check_health(self) -> None:
        """Raise what keeps the learner from going on; called before each train_step and in waits.

        Raises:
            Exception: what went wrong in threads that serve others.
        """

    def trained_on(self, batch: TrainingBatch, train_steps: int, env_steps: int) -> None:
        """Take a batch that was trained on, and the steps made so far, this one included."""

    def got_priorities(self, largest: float) -> None:
        """Take the largest new priority of a batch."""

    def extra_state(self) -> dict[str, Any]:
        """Return further entries for the checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunObserver:
    """Keeps the run's records and watches over its replay and its folder."""

    record: RunRecord
    fairness: FairnessRecord
    starvation: Starvation
    lease: Lease

    def check_health(self) -> None:
        """Raise what the threads of the records, of replay's counts and of the lease found."""
        self.record.check()
        self.starvation.check()
        self.lease.check_now_and_then()

    def trained_on(self, batch: TrainingBatch, train_steps: int, env_steps: int) -> None:
        """Count the ages of what was trained on."""
        self.fairness.add_batch(batch, train_steps, env_steps)

    def got_priorities(self, largest: float) -> None:
        """Follow the largest recent priority, with which new steps enter replay."""
        self.record.add_priorities(largest)

    def extra_state(self) -> dict[str, Any]:
        """Return the records' entries of a checkpoint."""
        return {"record": self.record.state(), "fairness": self.fairness.state()}

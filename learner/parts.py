"""The arguments of the learner's loop: its parts, and an observer that it reports to.

Built by ``learner.__main__``, or by a test.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from efficientzero.metrics import Tracker
from efficientzero.process.runtime import StopSignal
from efficientzero.runs.lease import Lease
from learner.batches import BatchSource
from learner.cluster import Starvation
from learner.pacing import Governor
from learner.records import CheckpointSaver, FairnessRecord, PrioritySink, RunRecord
from learner.training import CollapseAlarm, Ranks, SingleDevice, TrainingCollapsed
from learner.weights import League, Members, WeightPublisher
from replay.format import TrainingBatch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerParts:
    """The parts of the learner's loop; most of them talk to other processes or threads."""

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
    ranks: Ranks = field(default_factory=SingleDevice)
    """The ranks that train together."""
    members: Members | None = None
    """Of the pool of opponents; None: the run has none."""


class TrainingObserver(Protocol):
    """Callbacks of the learner's loop; called from its thread."""

    def check_health(self) -> None:
        """Raise errors that must stop the learner; called before each train_step and in waits.

        Raises:
            Exception: an error of a thread that serves other processes.
        """

    def trained_on(self, batch: TrainingBatch, train_steps: int, env_steps: int) -> None:
        """Receive a batch that was trained on, and the steps made so far, this one included."""

    def got_priorities(self, largest: float) -> None:
        """Receive the largest new priority of a batch."""

    def logged(self, row: Mapping[str, float]) -> None:
        """Receive a row of metrics after it was logged.

        Raises:
            TrainingCollapsed: the run is to end because of what the row says.
            OSError: a file of records cannot be written.
        """

    def extra_state(self) -> dict[str, Any]:
        """Return further entries for the checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunObserver:
    """Keeps the run's records and monitors its replay and its folder."""

    record: RunRecord
    fairness: FairnessRecord
    starvation: Starvation
    lease: Lease
    alarm: CollapseAlarm
    members: Members | None = None
    """Of the pool of opponents; None: the run has none."""

    @property
    def league(self) -> League | None:
        """Who the members are, and how games against them ended; None without a pool."""
        return None if self.members is None else self.members.league

    def check_health(self) -> None:
        """Raise errors of the threads that keep records, replay counts and the lease."""
        self.record.check()
        self.starvation.check()
        self.lease.check_now_and_then()

    def trained_on(self, batch: TrainingBatch, train_steps: int, env_steps: int) -> None:
        """Count the ages of the data that was trained on."""
        self.fairness.add_batch(batch, train_steps, env_steps)

    def got_priorities(self, largest: float) -> None:
        """Update the largest recent priority, which new steps get in replay."""
        self.record.add_priorities(largest)

    def logged(self, row: Mapping[str, float]) -> None:
        """Warn of what has collapsed, and record it; end the run if it is to end then."""
        if self.members is not None:
            self.members.save()
        collapses = self.alarm.add(row)
        for collapse in collapses:
            log.warning("%s", collapse.message)
            self.record.add_collapse(collapse._asdict())
        if collapses and self.alarm.ends_run:
            raise TrainingCollapsed(f"{collapses[0].message}. The weights are saved")

    def extra_state(self) -> dict[str, Any]:
        """Return the checkpoint entries of the records."""
        state = {"record": self.record.state(), "fairness": self.fairness.state()}
        return state if self.league is None else {**state, "league": self.league.state()}

    def finish(self) -> None:
        """Write what is only in memory, a last time.

        Raises:
            OSError: lines are lost, or a file cannot be written.
        """
        self.record.finish()
        self.fairness.save()
        if self.members is not None:
            self.members.save()

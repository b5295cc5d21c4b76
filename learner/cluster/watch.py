"""Watches the roster: empties the places of silent workers, and reports why a run stalls.

A thread of the learner; it also lists all processes of the run for the status.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from efficientzero.metrics import NO_VITALS, Vitals
from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.certificates import expiry_notes
from efficientzero.rpc.credentials import credentials_folder, has_tls
from efficientzero.schema import Phase
from learner.cluster.roster import LATE_S, LOST_S, Member, Roster, Seat
from learner.cluster.stall import cause_of
from learner.pacing import Governor
from learner.records import RunRecord

_LOOK_S = 1.0
_STALLED_S = 10.0
"""A shorter wait is no stall."""
_REPEAT_WARNING_S = 300.0
_CERTIFICATES_S, _WARNED_AGAIN_S = 3_600.0, 86_400.0

log = logging.getLogger(__name__)


class ProcessState(NamedTuple):
    """One process as the status shows it."""

    member: Member
    age_s: float  # since the last sign of life

    @property
    def state(self) -> str:
        """Return alive, late or lost."""
        return "lost" if self.age_s > LOST_S else "late" if self.age_s > LATE_S else "alive"


class ClusterWatch:
    """All processes of a run, seen from its learner. Safe to call from any thread."""

    def __init__(
        self,
        roster: Roster,
        governor: Governor,
        record: RunRecord,
        *,
        vitals: Callable[[], Vitals],
        replay_address: str,
        incarnation: int,
        has_evaluator: bool,
        are_launched: bool = False,
        every_second: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the parts.

        Args:
            roster: of the workers.
            governor: has the phase.
            record: has the final evaluation.
            vitals: returns the learner's vitals; called only by the watch's thread.
            replay_address: host:port of replay, shown in the status.
            incarnation: the learner's.
            has_evaluator: the run ends with an evaluation.
            are_launched: a launcher starts all workers, and restarts them.
            every_second: called by the watch's thread.
            clock: returns seconds.
        """
        self._clock = clock
        self._roster, self._governor, self._record = roster, governor, record
        self._vitals, self._has_evaluator = vitals, has_evaluator
        self._are_launched, self._every_second = are_launched, every_second
        self._replay = Seat("replay", 0, 0, 0, replay_address, 0)
        self._replay_seen_at, self._replay_rate = clock(), 0.0  # seconds, steps/s
        self._learner = Seat("learner", 0, incarnation, 0, socket.gethostname(), os.getpid())
        self._cores = len(os.sched_getaffinity(0))
        self._own_vitals = NO_VITALS
        self._waits_since = math.inf
        self.cause = ""
        """Cause of a wait of the learner of ten seconds or more; empty while nothing stalls."""
        self._warned_at = -math.inf
        self._certificate_notes: Sequence[str] = ()

    @property
    def warnings(self) -> list[str]:
        """What a person should know: certificates that expire, parts that have collapsed."""
        return [*self._certificate_notes, *self._record.snapshot().collapses]

    def replay_answered(self, steps_per_s: float) -> None:
        """Note that replay reported its counts."""
        self._replay_seen_at, self._replay_rate = self._clock(), steps_per_s

    def awaits_evaluation(self) -> bool:
        """Return whether everything is done except the final evaluation."""
        return self._has_finished() and not self._is_evaluated()

    def is_complete(self) -> bool:
        """Return whether nothing is left to do in this run."""
        return self._has_finished() and self._is_evaluated()

    def _has_finished(self) -> bool:
        return self._governor.phase is Phase.FINISHED

    def _is_evaluated(self) -> bool:
        return not self._has_evaluator or self._record.snapshot().final_evaluation_received

    def processes(self) -> list[ProcessState]:
        """Return replay, the learner and all workers."""
        now, own = self._clock(), Member(self._learner, 0.0, self._own_vitals)
        vitals = Vitals(self._replay_rate, "steps/s", "", math.nan, -1)
        replay = ProcessState(Member(self._replay, 0.0, vitals), now - self._replay_seen_at)
        return [replay, ProcessState(own, 0.0)] + [
            ProcessState(member, age_s) for member, age_s in self._roster.members()
        ]

    def follow(self, stop: StopSignal) -> None:
        """Call ``look`` once a second, in a separate thread, until stop."""
        guarded_thread(self._follow, stop, name="cluster", args=(stop,))

    def look(self) -> None:
        """Look once."""
        self._roster.expire()
        self._own_vitals, now = self._vitals(), self._clock()
        if paused_by := self._governor.paused_by:
            self.cause = f"the run waits: {paused_by}"
            return
        cause = cause_of(
            self._own_vitals,
            self._roster.members(),
            replay_silent_s=now - self._replay_seen_at,
            in_warmup=self._governor.phase is Phase.WARMUP,
            awaits_evaluation=self.awaits_evaluation(),
            host=self._learner.host,
            cores=self._cores,
            are_launched=self._are_launched,
            credentials=_for_workers(credentials_folder()),
        )
        self._waits_since = min(self._waits_since, now) if cause else math.inf
        self.cause = cause if now - self._waits_since >= _STALLED_S else ""

    def look_at_certificates(self) -> None:
        """Check once whether a certificate expires; log it at once, and again every day."""
        self._certificate_notes = expiry_notes(credentials_folder())
        now = self._clock()
        if now - self._warned_at < _WARNED_AGAIN_S:
            return
        for warning in self._certificate_notes:
            log.warning("%s", warning)
            self._warned_at = now

    def _follow(self, stop: StopSignal) -> None:
        said_at = looked_at = -math.inf
        while not stop.wait(_LOOK_S):
            self.look()
            self._every_second()
            if self._clock() - looked_at > _CERTIFICATES_S:
                self.look_at_certificates()
                looked_at = self._clock()
            if self.cause and self._clock() - said_at > _REPEAT_WARNING_S:
                log.warning("%s", self.cause)
                said_at = self._clock()


def _for_workers(folder: Path | None) -> str:
    """Return the credentials folder for joining workers: on loopback this one, else a copy."""
    return "DIR" if folder is None or has_tls(folder) else str(folder)

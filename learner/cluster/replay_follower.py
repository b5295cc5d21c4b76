"""Updates the learner's counts of replay, and reports what replay has lost.

Started by ``learner.__main__``. Runs in a thread, because replay may answer slowly.
"""

from __future__ import annotations

import logging
import time

from efficientzero.process.guarded_thread import GuardedThread, guarded_thread
from efficientzero.process.runtime import StopSignal
from efficientzero.runs.run_folder import RunInfo
from learner.cluster.starvation import Starvation
from learner.cluster.watch import ClusterWatch
from learner.pacing import Governor
from learner.records import FairnessRecord, RunRecord
from replay.info import ReplayCounts, ReplayInfo

_LOOK_S = 1.0

log = logging.getLogger(__name__)


def follow_replay(
    run: RunInfo,
    governor: Governor,
    *,
    starvation: Starvation,
    record: RunRecord,
    fairness: FairnessRecord,
    watch: ClusterWatch,
    stop: StopSignal,
) -> GuardedThread:
    """Read the counts once a second until stop, then once more, when the actors have left.

    Args:
        run: the run whose replay is read.
        governor: notified if nothing has reached replay, so that actors may play on.
        starvation: gets the counts.
        record: gets the counts for the run's status.
        fairness: gets them for the run's stamp.
        watch: notified when replay answered.
        stop: ends the thread.

    Returns:
        The started thread.
    """
    follower = ReplayFollower(
        run, governor, starvation=starvation, record=record, fairness=fairness, watch=watch
    )
    info = ReplayInfo(run.replay_address)

    def follow() -> None:
        while not stop.wait(_LOOK_S):
            follower.look(info.read())
        follower.look(info.read())

    return guarded_thread(follow, stop, name="replay-counts")


class ReplayFollower:
    """Passes replay's counts on to the parts of the learner."""

    def __init__(
        self,
        run: RunInfo,
        governor: Governor,
        *,
        starvation: Starvation,
        record: RunRecord,
        fairness: FairnessRecord,
        watch: ClusterWatch,
    ) -> None:
        """Store the parts; see ``follow_replay``."""
        self._config, self._governor = run.config, governor
        self._starvation = starvation
        self._record, self._fairness, self._watch = record, fairness, watch
        self._inserted, self._looked_at = 0, time.monotonic()

    def look(self, counts: ReplayCounts | None) -> None:
        """Process replay's counts; None: it did not answer."""
        if counts is None:
            return
        self._note_inserted(counts.steps_inserted)
        is_deterministic = self._config.cluster.deterministic
        self._fairness.set_replay_counts(counts)
        if not is_deterministic:  # there the table hands its steps on
            self._starvation.look(counts)
        is_empty = not counts.num_steps and not is_deterministic
        if is_empty and self._governor.collect_more_if_stuck():
            log.info("no step has reached replay yet: the actors may play on")
        # In a deterministic run the table passes all steps on: count those the pool keeps.
        capacity = self._config.replay.capacity
        kept = min(counts.steps_inserted, capacity) if is_deterministic else counts.num_steps
        self._record.set_replay_counts(items=kept, steps_inserted=counts.steps_inserted)

    def _note_inserted(self, inserted: int) -> None:
        now, more = time.monotonic(), inserted - self._inserted
        if more < 0:
            log.warning("replay started again from a snapshot without the last %d steps", -more)
        self._watch.replay_answered(max(0, more) / max(now - self._looked_at, _LOOK_S))
        self._inserted, self._looked_at = inserted, now

"""Keeps what the learner tells of replay fresh, and says what replay has lost.

Started by ``learner.__main__``. In a thread: replay may take its time to answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from efficientzero.guarded_thread import GuardedThread, guarded_thread
from efficientzero.run_folder import RunInfo
from efficientzero.runtime import StopSignal
from learner.cluster_watch import ClusterWatch
from learner.fairness_record import FairnessRecord
from learner.governor import Governor
from learner.replay_tally import Loss, ReplayTally
from learner.run_record import RunRecord
from learner.starvation import Starvation
from replay.info import ReplayCounts, ReplayInfo
from replay.shard_board import ShardBoard

_LOOK_S = 1.0

log = logging.getLogger(__name__)


def follow_replay(
    run: RunInfo,
    governor: Governor,
    *,
    board: ShardBoard | None,
    starvation: Starvation,
    record: RunRecord,
    fairness: FairnessRecord,
    watch: ClusterWatch,
    stop: StopSignal,
) -> GuardedThread:
    """Look once a second until stop, and then once more: by then the actors have left.

    Args:
        run: whose replay.
        governor: told when nothing has reached replay, so that actors may play on.
        board: tells what the shards count; None: there is one, which is asked itself.
        starvation: told what replay holds.
        record: gets the counts for the run's status.
        fairness: gets them for the run's stamp.
        watch: told which services answered.
        stop: ends the thread.

    Returns:
        The thread that looks.
    """
    follower = ReplayFollower(
        run, governor, starvation=starvation, record=record, fairness=fairness, watch=watch
    )

    def answers_of_one(info: ReplayInfo) -> Callable[[], Sequence[ReplayCounts | None]]:
        return lambda: [info.read()]

    answers = board.counts if board else answers_of_one(ReplayInfo(run.replay_address))

    def follow() -> None:
        while not stop.wait(_LOOK_S):
            follower.look(answers())
        last = answers()
        if all(last):  # what leaves now has lost nothing
            follower.look(last)

    return guarded_thread(follow, stop, name="replay-counts")


class ReplayFollower:
    """What one look at the answers of all shards is followed by."""

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
        """Keep the parts; see ``follow_replay``."""
        self._config, self._governor = run.config, governor
        self._starvation = starvation
        self._record, self._fairness, self._watch = record, fairness, watch
        num_shards = len(run.replay_addresses)
        self._tally = ReplayTally(num_shards)
        self._inserted, self._looked_at = [0] * num_shards, [time.monotonic()] * num_shards

    def look(self, answers: Sequence[ReplayCounts | None]) -> None:
        """Take in what each shard answered."""
        if not any(answers):
            return
        for loss in self._tally.update(answers):
            self._say(loss)
        counts, is_deterministic = self._tally.counts, self._config.cluster.deterministic
        self._fairness.set_replay_counts(counts)
        if not is_deterministic:  # there the table hands its steps on
            self._starvation.look(counts)
        is_empty = not counts.num_steps and not is_deterministic
        if is_empty and self._governor.collect_more_if_stuck():
            log.info("no step has reached replay yet: the actors may play on")
        # Of a deterministic run the table hands all steps on: count those its pool keeps.
        capacity = self._config.replay.capacity
        kept = min(counts.steps_inserted, capacity) if is_deterministic else counts.num_steps
        self._record.set_replay_counts(items=kept, steps_inserted=counts.steps_inserted)
        for shard, answer in enumerate(answers):
            if answer is not None:
                self._note_rate(shard, answer.steps_inserted)

    def _note_rate(self, shard: int, inserted: int) -> None:
        now = time.monotonic()
        elapsed_s = max(now - self._looked_at[shard], _LOOK_S)
        rate = max(0, inserted - self._inserted[shard]) / elapsed_s
        self._watch.replay_answered(rate, shard)
        self._inserted[shard], self._looked_at[shard] = inserted, now

    def _say(self, loss: Loss) -> None:
        who = "replay" if len(self._inserted) == 1 else f"replay shard {loss.shard}"
        log.warning(
            "%s started again from a snapshot without the last %d steps", who, loss.num_steps
        )

"""Run the learner: ``python -m learner --config runs/<id>/config.json``.

It serves weights and the run's pace over gRPC, trains until the budget is spent, and then goes on
serving until it is told to stop, so that the last weights can be evaluated.
"""

from __future__ import annotations

import logging
import threading

from efficientzero.devices import setup_torch
from efficientzero.role_arguments import RoleArguments, parse_role_arguments
from efficientzero.run_folder import RunInfo
from efficientzero.run_tracking import run_tracker
from efficientzero.runtime import StopSignal, leave, run_role
from learner.governor import Governor
from learner.grpc_server import GrpcServer
from learner.learner import Learner, PrioritySink
from learner.lock_step import LockStepGovernor
from learner.run_record import RunRecord
from learner.weight_server import WeightPublisher
from replay.info import ReplayInfo, wait_until_ready
from replay.priorities import PriorityUpdater
from replay.training_queue import TrainingQueueReader

ROLE = "learner"

_REPLAY_START_S = 120.0
_EXIT_GRACE_S = 55.0  # a large checkpoint takes its time; the supervisor waits for 60 s
_REPLAY_LOOK_S = 1.0

log = logging.getLogger(__name__)


def main(arguments: RoleArguments, stop: StopSignal) -> None:
    """Build the learner's parts, train, and serve until told to stop."""
    run = arguments.run
    device = setup_torch(run.config.cluster)
    tracker = run_tracker(run, ROLE, arguments.index, arguments.incarnation)
    exit_code = 1
    try:
        publisher, record = WeightPublisher(), RunRecord(run.directory)
        if not wait_until_ready(run.replay_address, stop, timeout_s=_REPLAY_START_S):
            return
        governor, priorities = _pace(run, stop)
        _follow_replay(run, record, stop)
        with GrpcServer(run.learner_address, governor=governor, publisher=publisher, record=record):
            Learner(
                run,
                device=device,
                batches=TrainingQueueReader(run.replay_address, run.env_spec, run.config, stop),
                priorities=priorities,
                publisher=publisher,
                governor=governor,
                check_health=record.check,
                note_priorities=record.add_priorities,
                tracker=tracker,
                stop=stop,
            ).run()
            while not stop.wait(1.0):
                record.check()
        exit_code = 0
    finally:
        tracker.close(exit_code)


def _pace(run: RunInfo, stop: StopSignal) -> tuple[Governor, PrioritySink]:
    """Return who grants the steps, and who takes new priorities to where steps are sampled."""
    if run.config.cluster.deterministic:
        lock_step = LockStepGovernor(run.config)
        return lock_step, lock_step
    return Governor(run.config), PriorityUpdater(run.replay_address, stop)


def _follow_replay(run: RunInfo, record: RunRecord, stop: StopSignal) -> None:
    """Keep the record's replay size fresh from a thread: replay may take its time to answer."""

    def follow() -> None:
        info = ReplayInfo(run.replay_address)
        while not stop.wait(_REPLAY_LOOK_S):
            counts = info.read()
            if counts is not None:
                kept = min(counts.steps_inserted, run.config.replay.capacity)
                record.set_replay_items(kept)

    threading.Thread(target=follow, name="replay-counts", daemon=True).start()


if __name__ == "__main__":
    parsed = parse_role_arguments(ROLE, __doc__)
    leave(run_role(ROLE, parsed.index, lambda stop: main(parsed, stop), exit_grace_s=_EXIT_GRACE_S))

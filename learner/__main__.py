"""Run the learner: ``python -m learner --config runs/<id>/config.json``.

It serves weights, the run's pace and the list of its processes over gRPC, trains until the budget
is spent, and then keeps serving so that the last weights can be evaluated. After that it exits, or,
if launch.py started it, waits for the stop signal.
"""

from __future__ import annotations

import logging
import os
import time

import numpy as np

from efficientzero.process.devices import setup_torch
from efficientzero.process.disk_space import DiskPause, release_reserve
from efficientzero.process.liveness import beat
from efficientzero.process.own_log import keep_log
from efficientzero.process.runtime import (
    LAUNCHED_WORKERS_VARIABLE,
    LAUNCHER_PID_VARIABLE,
    StopSignal,
    exit_now,
    run_role,
)
from efficientzero.rpc.place_proofs import SECRET_FILE
from efficientzero.runs.lease import Lease, take_lease
from efficientzero.runs.results.cpu_seconds import CpuSeconds
from efficientzero.runs.results.env_step_journal import EnvStepJournal
from efficientzero.runs.run_folder import RunInfo
from efficientzero.runs.run_processes import check_alone
from efficientzero.runs.start_counts import count_start
from efficientzero.worker import RoleArguments, parse_server_line, run_tracker
from learner.batches import pinned_array
from learner.cluster import ClusterWatch, Roster, Seat, Starvation, follow_replay
from learner.learner import Learner
from learner.pacing import Governor, LockStepGovernor
from learner.parts import LearnerParts, RunObserver
from learner.records import FairnessRecord, PrioritySink, RunRecord, saver_of, summarized
from learner.resume import resume
from learner.services import Claims, ClusterServicer, GrpcServer
from learner.training import (
    CollapseAlarm,
    describe_network,
    device_of_rank,
    join_ranks,
)
from learner.weights import WeightPublisher, members_of
from replay.info import steps_in_replay, wait_until_ready
from replay.relay import reached_through_relays
from replay.steps import PriorityUpdater
from replay.tables import trajectories_table
from replay.training_queue import TrainingQueueReader

ROLE = "learner"

_REPLAY_START_S = 120.0
_EXIT_GRACE_S = 55.0  # for a large checkpoint; the supervisor waits for 60 s
_INFO_S = 30
_RANKS_FIRST_S = 3.0
_LEAVE_S = 6.0
_LAST_LOOK_S = 3.0

log = logging.getLogger(__name__)


def main(arguments: RoleArguments, stop: StopSignal) -> None:
    """Build the learner's parts, resume, train, and serve until a stop is requested."""
    run = reached_through_relays(arguments.run, stop)
    name = f"{ROLE}-{arguments.index}"
    check_alone(run.directory, name)
    pause = DiskPause(stop)
    lease = pause.write(
        lambda: take_lease(run.directory, name, launch=run.num_resumes), run.directory / name
    )
    keep_log(run.directory, ROLE, arguments.index)
    device = device_of_rank(setup_torch(run.config.cluster, ROLE, 0), 0, run.config)
    tracker = run_tracker(run, ROLE, arguments.index, arguments.incarnation, stop=stop)
    exit_code = 1
    try:
        journal = pause.write(
            lambda: EnvStepJournal(run.directory, run.num_resumes), run.directory / "env_steps"
        )
        record = RunRecord(run.directory, pause, check_lease=lease.check)
        fairness = FairnessRecord(run.directory, run.config, check_lease=lease.check)
        steps_noted, steps_before = journal.read(), _steps_before(run)
        publisher, alarm = (
            WeightPublisher(incarnation=arguments.incarnation),
            CollapseAlarm(run.config),
        )
        if not wait_until_ready(run.replay_address, stop, timeout_s=_REPLAY_START_S):
            return
        governor, priorities = _pace(run, journal, lease, stop)
        pause.on_change = governor.pause
        starvation = Starvation(governor)
        observer = RunObserver(
            record=record,
            fairness=fairness,
            starvation=starvation,
            lease=lease,
            alarm=alarm,
            members=members_of(run, publisher, pause, lease, incarnation=arguments.incarnation),
        )
        parts = LearnerParts(
            device=device,
            batches=TrainingQueueReader(
                run.replay_address,
                run.env_spec,
                run.config,
                stop,
                new_array=pinned_array if device.type == "cuda" else np.empty,
            ),
            priorities=priorities,
            publisher=publisher,
            governor=governor,
            saver=saver_of(run, lease, stop, pause),
            tracker=tracker,
            stop=stop,
            ranks=join_ranks(run, device),
            members=observer.members,
        )
        learner = Learner(run, parts, observer)
        log.info("network: %s", describe_network(learner.network, run.config))
        resume(
            run,
            training=learner.training,
            governor=governor,
            record=record,
            fairness=fairness,
            members=observer.members,
            steps_in_replay=steps_in_replay(run.replay_address, timeout_s=_INFO_S),
            steps_noted=steps_noted,
            steps_before=steps_before,
        )
        cost = CpuSeconds(run.directory, check_lease=lease.check)
        roster, watch = _cluster(arguments, lease, governor, record, learner=learner, cost=cost)
        cluster = pause.write(
            lambda: ClusterServicer(arguments.run, roster, watch, cost), run.directory / SECRET_FILE
        )
        fairness.begin()
        counting = follow_replay(
            run,
            governor,
            starvation=starvation,
            record=record,
            fairness=fairness,
            watch=watch,
            stop=stop,
        )
        with summarized(
            run,
            governor,
            record,
            is_complete=watch.is_complete,
            stop=stop,
            check_lease=lease.check,
        ):
            try:
                with GrpcServer(
                    run.learner_listens_at,
                    governor=governor,
                    publisher=publisher,
                    record=record,
                    cluster=cluster,
                    claims=Claims(run.config, governor, holds=roster.holds),
                    league=observer.league,
                    run_uid=run.run_uid,
                ):
                    watch.follow(stop)
                    learner.run()
                    _serve_to_the_end(watch, observer, stop)
                    _wait_until_left(roster, watch)
            finally:
                counting.join(_LAST_LOOK_S if stop.is_set() else 0.0)
                _write_the_rest(run, observer, learner, cost)
        stop.check()
        exit_code = 0
    except Exception:
        if run.config.learner.num_devices > 1:
            # The cause may be that another rank died; report that first.
            stop.wait(_RANKS_FIRST_S)
        raise
    finally:
        tracker.close(exit_code)


def _steps_before(run: RunInfo) -> int:
    """Return how many env_steps were played when the previous launch ended."""
    launch = run.num_resumes - 1
    return EnvStepJournal(run.directory, launch).read() if launch >= 0 else 0


def _cluster(
    arguments: RoleArguments,
    lease: Lease,
    governor: Governor,
    record: RunRecord,
    *,
    learner: Learner,
    cost: CpuSeconds,
) -> tuple[Roster, ClusterWatch]:
    """Return the registry of the run's workers, and the object that watches over it."""
    run = arguments.run

    def give_back(seat: Seat) -> None:
        if seat.role == "actor":
            governor.forget(seat.index, seat.member)

    def note_cost() -> None:
        _note_cost(cost, learner)
        cost.save_when_due()

    def count(name: str) -> int:
        lease.check()
        return count_start(run.directory, name)

    roster = Roster(
        count_start=count,
        on_gone=give_back,
        awaits_return=arguments.incarnation > 0,
    )
    watch = ClusterWatch(
        roster,
        governor,
        record,
        vitals=learner.pulse.vitals,
        replay_address=run.replay_address,
        incarnation=arguments.incarnation,
        has_evaluator=run.config.cluster.evaluator,
        are_launched=LAUNCHED_WORKERS_VARIABLE in os.environ,
        every_second=note_cost,
    )
    return roster, watch


def _serve_to_the_end(watch: ClusterWatch, observer: RunObserver, stop: StopSignal) -> None:
    """Serve until a stop is requested; without a launcher, until nothing is left to do."""
    is_launched = LAUNCHER_PID_VARIABLE in os.environ
    while not stop.wait(1.0):
        beat("serving the last weights")
        observer.check_health()
        if watch.is_complete() and not is_launched:
            log.info("the run is complete")
            return


def _wait_until_left(roster: Roster, watch: ClusterWatch) -> None:
    """Give workers time to learn that the run is over; else they would search for the learner."""
    deadline = time.monotonic() + _LEAVE_S
    while watch.is_complete() and roster.members() and time.monotonic() < deadline:
        time.sleep(0.1)


def _write_the_rest(
    run: RunInfo, observer: RunObserver, learner: Learner, cost: CpuSeconds
) -> None:
    """Write the state that is only in memory, after the last checkpoint."""
    release_reserve(run.directory)  # the files written here are small
    observer.finish()
    _note_cost(cost, learner)
    cost.save()


def _note_cost(cost: CpuSeconds, learner: Learner) -> None:
    """Record the CPU time of the learner up to now, on all its devices."""
    cost.note_own(ROLE)
    cost.note_ranks(learner.other_ranks_seconds())


def _pace(
    run: RunInfo, journal: EnvStepJournal, lease: Lease, stop: StopSignal
) -> tuple[Governor, PrioritySink | None]:
    """Return the object that grants steps, and the one that sends new priorities to replay."""
    if run.config.cluster.deterministic:
        lock_step = LockStepGovernor(run.config)
        return lock_step, lock_step
    has_priorities = run.config.replay.priority_exponent > 0
    updater = None
    if has_priorities:
        steps = trajectories_table(run.env_spec, has_movers=run.config.league.has_pool)
        updater = PriorityUpdater(run.replay_address, stop, table=steps)

    def note(count: int) -> None:
        lease.check()
        journal.write(count)

    return Governor(run.config, note_env_steps=note), updater


if __name__ == "__main__":
    parsed = parse_server_line(ROLE, __doc__)
    exit_now(
        run_role(ROLE, parsed.index, lambda stop: main(parsed, stop), exit_grace_s=_EXIT_GRACE_S)
    )

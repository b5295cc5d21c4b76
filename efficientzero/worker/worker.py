"""Runs a worker's process: finds its place in a run, does its work, gives the place back.

Called by the ``__main__`` of actor, reanalyzer and evaluator. A launcher's process knows run and
index from its command line, a process that joins asks the learner; both send heartbeats.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass

from efficientzero.config import ConfigError, check_devices, with_role_device
from efficientzero.process.disk_space import DiskPause
from efficientzero.process.own_log import keep_log
from efficientzero.process.runtime import PlainError, StopSignal, run_role, setup_logging
from efficientzero.rpc.certificates import expiry_notes
from efficientzero.rpc.credentials import CredentialsError, credentials_folder, is_loopback
from efficientzero.rpc.place_proofs import SECRET_FILE
from efficientzero.rpc.stubs import cluster_pb2
from efficientzero.runs.run_folder import RunInfo
from efficientzero.worker.joining import RunFinished, join, seat_in
from efficientzero.worker.membership import Membership
from efficientzero.worker.role_arguments import (
    WorkerLine,
    bypass_proxies,
    parse_worker_line,
    read_run,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A worker's run, its place there, and its membership."""

    run: RunInfo
    index: int
    incarnation: int
    member: int
    """Random number of this process; no part of its seeds."""
    membership: Membership


class DeviceRefused(PlainError):
    """The device of a process's command line does not suit its run."""

    is_permanent = True


Work = Callable[[Place, StopSignal], None]
"""A role's own main function."""


def run_worker(role: str, module: str, description: str | None, work: Work) -> int:
    """Parse the command line, find the place, do ``work`` there and return the exit code.

    Exit codes as in ``run_role``; also 78 if the learner refuses the process, 0 if the run is over.
    """
    line = parse_worker_line(module, description)

    def main(stop: StopSignal) -> None:
        found = _joined(line, role, stop) if line.join else _launched(line, role, module, stop)
        if found is None:
            return
        run, seat = found
        run = with_device(run, role, line.device)
        setup_logging(role, seat.index)
        if line.join:
            keep_log(run.directory, role, seat.index)
        membership = Membership(run, seat, stop)
        try:
            work(
                Place(
                    run=run,
                    index=seat.index,
                    incarnation=seat.incarnation,
                    member=seat.member,
                    membership=membership,
                ),
                stop,
            )
            membership.check()
        finally:
            membership.close()

    return run_role(role, line.index, main)


def with_device(run: RunInfo, role: str, name: str) -> RunInfo:
    """Return the run with the device that a process of ``role`` was started for, if it was.

    Raises:
        DeviceRefused: the run is deterministic, and that is no CPU.
    """
    if not name:
        return run
    cluster = with_role_device(run.config.cluster, role, name)
    config = dataclasses.replace(run.config, cluster=cluster)
    try:
        check_devices(config)
    except ConfigError as error:
        raise DeviceRefused(f"--device: {error}") from error
    return dataclasses.replace(run, config=config)


def _launched(
    line: WorkerLine, role: str, module: str, stop: StopSignal
) -> tuple[RunInfo, cluster_pb2.Seat]:
    assert line.config is not None
    run = read_run(module, line.config)
    bypass_proxies(run.replay_address, run.learner_address)
    seat = DiskPause(stop).write(
        lambda: seat_in(run, role, line.index, line.incarnation), run.directory / SECRET_FILE
    )
    return run, seat


def _joined(
    line: WorkerLine, role: str, stop: StopSignal
) -> tuple[RunInfo, cluster_pb2.Seat] | None:
    host = line.join.rpartition(":")[0]
    if credentials_folder() is None and not is_loopback(host):
        raise CredentialsError(
            f"--join: got {line.join}, another host, and no credentials; wanted --credentials DIR"
        )
    for note in expiry_notes(credentials_folder()):
        log.warning("%s", note)
    bypass_proxies(line.join)
    try:
        found = join(line.join, role, stop, runs_dir=line.runs_dir)
    except RunFinished:
        log.info("the run of the learner at %s is finished", line.join)
        return None
    if found is None:
        return None
    run, seat = found
    run.directory.mkdir(parents=True, exist_ok=True)
    bypass_proxies(run.replay_address)
    log.info("%s-%d of run %s at %s", role, seat.index, run.run_id, line.join)
    return run, seat

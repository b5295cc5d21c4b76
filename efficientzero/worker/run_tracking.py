"""A role's tracker, from its run file."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from efficientzero.config import config_to_dict
from efficientzero.metrics import Tracker, make_tracker
from efficientzero.process.runtime import StopSignal
from efficientzero.runs.run_folder import RunInfo


def run_tracker(
    run: RunInfo, role: str, index: int, incarnation: int = 0, *, stop: StopSignal
) -> Tracker:
    """Return the tracker of process ``role``-``index`` in the run's wandb group."""
    tracking = run.config.tracking
    return make_tracker(
        mode=run.tracking_mode,
        entity=tracking.entity,
        project=tracking.project,
        group=run.group,
        seed=run.config.seed,
        run_uid=run.run_uid,
        role=role,
        index=index,
        config={
            **config_to_dict(run.config),
            "config_hash": run.config_hash,
            "versions": run.versions,
            "lineage": run.lineage and dataclasses.asdict(run.lineage),
        },
        tags=[tracking.arm] if tracking.arm else [],
        directory=run.directory,
        stop=stop,
        incarnation=incarnation,
    )


@contextlib.contextmanager
def tracked(
    run: RunInfo, role: str, index: int, incarnation: int = 0, *, stop: StopSignal
) -> Iterator[Tracker]:
    """Give ``run_tracker``'s tracker to a role's work, and close it when the work ends.

    A run ended by an exception or a failed thread is recorded as failed.
    """
    tracker = run_tracker(run, role, index, incarnation, stop=stop)
    exit_code = 1
    try:
        yield tracker
        exit_code = int(stop.failure is not None)
    finally:
        tracker.close(exit_code)

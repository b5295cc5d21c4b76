"""Writes ``summary.json`` if no launcher does: in containers, or for processes started by hand.

The learner is the last process of a run, and has its folder and its counts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator

from efficientzero.process.runtime import LAUNCHER_PID_VARIABLE, StopSignal
from efficientzero.rpc.stubs import run_pb2
from efficientzero.runs.lease import Fenced
from efficientzero.runs.results.run_summary import Outcome, save_summary, summarize
from efficientzero.runs.run_folder import RunInfo
from learner.pacing import Governor
from learner.records.run_record import RunRecord

log = logging.getLogger(__name__)


@contextlib.contextmanager
def summarized(
    run: RunInfo,
    governor: Governor,
    record: RunRecord,
    *,
    is_complete: Callable[[], bool],
    stop: StopSignal,
    check_lease: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Write the summary at the end of the block, also after an error; nothing under a launcher.

    Args:
        run: the run; the summary goes into its folder.
        governor: has the counts of steps.
        record: has the count of games, and the time.
        is_complete: returns whether nothing is left to do in the run.
        stop: has the reason if the learner ends early.
        check_lease: raises if another process owns the folder now.
    """
    if LAUNCHER_PID_VARIABLE in os.environ:
        yield
        return
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        outcome = outcome_of(failure, stop, is_complete=is_complete())
        try:
            check_lease()
            _save(run, outcome, governor, record)
        except Fenced as error:
            log.error("no summary: %s", error)
        except OSError as error:
            log.error("cannot write %s/summary.json: %s", run.directory, error)


def outcome_of(failure: BaseException | None, stop: StopSignal, *, is_complete: bool) -> Outcome:
    """Return how the run ended, in a launcher's terms."""
    failure = failure or stop.failure
    if failure is not None:
        text = " ".join(str(failure).split()) or type(failure).__name__
        return Outcome(1, f"failed: the learner: {text}")
    if is_complete:
        return Outcome(0, "budget")
    if stop.reason in signal.Signals.__members__:
        return Outcome(128 + signal.Signals[stop.reason], "interrupted")
    return Outcome(1, f"failed: the learner left before the run was over ({stop.reason})")


def _save(run: RunInfo, outcome: Outcome, governor: Governor, record: RunRecord) -> None:
    status = run_pb2.RunStatus(
        env_steps=governor.env_steps,
        train_steps=governor.train_steps,
        episodes=record.snapshot().episodes,
    )
    path = save_summary(run, summarize(run, outcome, status=status, wall_s=record.wall_s))
    log.info("%s, exit code %d: %s", outcome.reason, outcome.exit_code, path)

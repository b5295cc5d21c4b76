"""A run on this machine from its first line to its last: processes, summary, advice.

Called by ``launch.py`` with the plan that ``deploy.launching`` made.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from deploy.results import resume_advice, summary_lines, try_next, wandb_folders
from deploy.supervising.child import DETERMINISTIC_ARITHMETIC, Child, child_environment
from deploy.supervising.display import NoteHandler, RunConsole
from deploy.supervising.monitor import RunMonitor, learner_status
from deploy.supervising.stop_requests import EXIT_FAILED, StopRequests
from deploy.supervising.supervisor import Graces, Supervisor
from deploy.supervising.topology import SERVER_ROLES, processes
from efficientzero.process.runtime import LAUNCHED_WORKERS_VARIABLE
from efficientzero.runs.lease import Fenced, Lease
from efficientzero.runs.results.run_summary import (
    EVALUATIONS_FILE,
    Outcome,
    save_summary,
    summarize,
)
from efficientzero.runs.run_folder import RunInfo

INCARNATIONS_PER_LAUNCH = 1_000
"""No process is started so often in one launch."""


class Plan(NamedTuple):
    """What to start."""

    run: RunInfo
    notes: list[tuple[str, str]]  # printed first
    lock: ExitStack  # lets go of the run folder
    lease: Lease  # the right to write the summary
    has_workers: bool  # start them here
    is_first_try: bool  # nothing was named: the last lines say what to try next


def run_locally(plan: Plan) -> int:
    """Start, watch and end the run's processes; return the exit code."""
    run, notes, has_workers = plan.run, plan.notes, plan.has_workers
    started, wandb_before = time.monotonic(), wandb_folders(run.directory)
    requests = StopRequests()
    requests.install()
    cluster = run.config.cluster
    with ExitStack() as stack:
        console = stack.enter_context(RunConsole(sys.stderr))
        logging.basicConfig(level=logging.INFO, handlers=[NoteHandler(console)])
        for name, text in notes:
            console.note(f"{name:<10} {text}")
        fetch = stack.enter_context(learner_status(run.learner_address))
        monitor = stack.enter_context(
            RunMonitor(
                fetch,
                evaluations_path=run.directory / EVALUATIONS_FILE,
                show=console.show,
                stop=requests.stop,
                until_evaluated=cluster.evaluator and not has_workers,
            )
        )
        threads = cluster.threads_per_process
        launch = secrets.token_hex(8)
        env = child_environment(os.environ, run_uid=run.run_uid, launch=launch, threads=threads)
        if has_workers:
            env[LAUNCHED_WORKERS_VARIABLE] = "1"
        if cluster.deterministic:
            env |= DETERMINISTIC_ARITHMETIC
        log_dir = run.directory / "logs"
        children = [
            Child(
                spec,
                log_dir=log_dir,
                env=env,
                sink=console.line,
                stop=requests.stop,
                first_incarnation=run.num_resumes * INCARNATIONS_PER_LAUNCH,
            )
            for spec in processes(run)
            if has_workers or spec.role in SERVER_ROLES
        ]
        supervisor = Supervisor(
            children,
            launch=launch,
            max_restarts=None if cluster.deterministic else cluster.max_restarts,
            progress=monitor.progress,
            note=console.note,
            graces=Graces(),
        )
        outcome = supervisor.run(requests)
    # A rank records nothing itself.
    recording = [child.spec.name for child in children if child.spec.role != "rank"]
    wall_s = time.monotonic() - started
    return report(plan, outcome, monitor, wall_s, expected=recording, wandb_before=wandb_before)


def report(
    plan: Plan,
    outcome: Outcome,
    monitor: RunMonitor,
    wall_s: float,
    *,
    expected: Collection[str],
    wandb_before: Collection[str],
) -> int:
    """Write and print the summary (see ``summary_lines``) and what may be done next.

    Returns:
        The exit code.
    """
    run = plan.run
    summary = summarize(run, outcome, status=monitor.last_status, wall_s=wall_s)
    try:
        plan.lease.check()
        save_summary(run, summary)
    except Fenced as error:
        print(f"launch.py: error: no summary: {error}", file=sys.stderr)
    except OSError as error:
        text = f"cannot write {run.directory}/summary.json ({error.strerror})"
        print(f"launch.py: error: {text}", file=sys.stderr)
    lines = summary_lines(run, summary, expected=expected, wandb_before=wandb_before)
    lines += advice_lines(plan, summary)
    with contextlib.suppress(OSError):  # nobody reads any more
        print("\n".join(["", *lines]), flush=True)
    return outcome.exit_code


def advice_lines(plan: Plan, summary: Mapping[str, Any]) -> list[str]:
    """Return how a run goes on that was stopped, or what to try after a first one."""
    rows: list[tuple[str, str]] = []
    if summary["exit_code"] and not summary["eval_is_final"]:
        advice = resume_advice(plan.run, is_served=not plan.has_workers)
        has_failed = summary["exit_code"] == EXIT_FAILED
        rows = [("resume", advice + " (once the cause is mended)" * has_failed)]
    elif plan.is_first_try and not summary["exit_code"]:
        rows = [("try next", f"{what}: {command}") for what, command in try_next(plan.run)]
    return [f"{name:<10} {value}" for name, value in rows]

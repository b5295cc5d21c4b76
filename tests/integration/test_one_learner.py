"""A launcher that is killed while its learner hangs: the run that goes on has one learner."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.local_runs import TINY, LocalRun

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

BUDGET = ("--budget.env-steps", "100000", "--budget.train-steps", "100000")


def ends(pid: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.1)
    return False


def test_run_that_goes_on_after_a_hung_learner_has_one_learner(tmp_path):
    with LocalRun(tmp_path, *TINY, *BUDGET) as first:
        first.wait_for_status("a train_step", lambda status: status.train_steps > 0)
        hung = next(pid for pid, name in first.pids().items() if name == "learner-0")
        os.kill(hung, signal.SIGSTOP)
        try:
            first.process.kill()
            first.process.wait(10.0)
            with LocalRun(tmp_path, resume=True) as second:
                second.wait_for_status("a status", lambda status: True)
                learners = [pid for pid, name in second.pids().items() if name == "learner-0"]
                assert len(learners) == 1
                assert hung not in learners
                assert f"learner-0 (process {hung})" in second.output
        finally:
            with suppress(ProcessLookupError):
                os.kill(hung, signal.SIGCONT)
                os.kill(hung, signal.SIGKILL)

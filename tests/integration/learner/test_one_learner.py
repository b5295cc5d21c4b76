"""A launcher that is killed while its learner hangs: the run that goes on has one learner."""

import os
import signal
import time
from contextlib import suppress

import pytest

from tests.integration.local_runs import TINY, LocalRun

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

BUDGET = ("--budget.env-steps", "100000", "--budget.train-steps", "100000")


def learners(run: LocalRun) -> list[int]:
    return [pid for pid, name in run.pids().items() if name == "learner-0"]


def test_run_that_goes_on_after_a_hung_learner_has_one_learner(tmp_path):
    with LocalRun(tmp_path, *TINY, *BUDGET) as first:
        first.wait_for_status("a train_step", lambda status: status.train_steps > 0)
        (hung,) = learners(first)
        os.kill(hung, signal.SIGSTOP)
        try:
            first.process.kill()
            first.process.wait(60.0)
            with LocalRun(tmp_path, resume=True) as second:
                deadline = time.monotonic() + 180.0
                while f"learner-0 (process {hung})" not in second.output:
                    assert learners(second) == [hung], second.output
                    assert second.process.poll() is None, second.output
                    assert time.monotonic() < deadline, second.output
                    time.sleep(0.1)
                os.kill(hung, signal.SIGKILL)  # as the launcher does a minute later
                second.wait_for_status("a status", lambda status: True)
                # The killed one goes in a moment, and so does a fork of the new one before exec.
                while len(learners(second)) > 1:
                    assert time.monotonic() < deadline, learners(second)
                    time.sleep(0.1)
                (new,) = learners(second)
                assert new != hung
        finally:
            with suppress(ProcessLookupError):
                os.kill(hung, signal.SIGKILL)

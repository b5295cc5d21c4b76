"""What a run without a launcher leaves: summary, logs, and a tracker that knows failures."""

import json
import logging

import pytest

from deploy.results.ended_run import ended_run
from efficientzero.process.own_log import keep_log
from efficientzero.process.runtime import LAUNCHER_PID_VARIABLE, StopSignal, setup_logging
from efficientzero.worker import run_tracking
from efficientzero.worker.run_tracking import tracked
from learner.pacing.governor import Governor
from learner.records.own_summary import summarized
from learner.records.run_record import RunRecord
from tests.support.fakes import tiny_config, tiny_run


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.delenv(LAUNCHER_PID_VARIABLE, raising=False)


@pytest.fixture
def scene(tmp_path):
    """Return the run, and a function that leaves the block as a learner would."""
    run, stop = tiny_run(tmp_path, tiny_config()), StopSignal()
    governor, record = Governor(run.config), RunRecord(tmp_path)
    governor.restore(env_steps=5, train_steps=2)

    def end(*, is_complete=False, reason="", error=None):
        with summarized(run, governor, record, is_complete=lambda: is_complete, stop=stop):
            if reason:
                stop.set(reason)
            if error:
                raise error

    return run, end


def summary_of(run):
    return json.loads((run.directory / "summary.json").read_text())


@pytest.mark.usefixtures("alone")
def test_learner_without_a_launcher_leaves_the_summary_that_status_reads(scene):
    run, end = scene
    end(reason="SIGTERM")
    stopped = summary_of(run)
    assert (stopped["exit_code"], stopped["exit_reason"]) == (143, "interrupted")
    assert (stopped["env_steps"], stopped["train_steps"]) == (5, 2)
    assert {"env_steps_lost", "fairness", "versions", "config_hash"} <= stopped.keys()
    end(is_complete=True)  # started again: one summary, of the run's end
    assert (summary_of(run)["exit_code"], summary_of(run)["exit_reason"]) == (0, "budget")
    ended = ended_run(run)
    assert ended is not None
    assert ended.is_complete


@pytest.mark.usefixtures("alone")
def test_learner_that_fails_says_why_in_its_summary_and_raises_on(scene):
    run, end = scene
    with pytest.raises(RuntimeError, match="no"):
        end(error=RuntimeError("no\nbatch"))
    assert summary_of(run)["exit_code"] == 1
    assert summary_of(run)["exit_reason"] == "failed: the learner: no batch"


def test_under_a_launcher_the_launcher_writes(scene, monkeypatch, tmp_path):
    monkeypatch.setenv(LAUNCHER_PID_VARIABLE, "1")
    run, end = scene
    end(is_complete=True)
    keep_log(tmp_path, "learner", 0)
    assert not (run.directory / "summary.json").exists()
    assert not (tmp_path / "logs").exists()


@pytest.mark.usefixtures("alone")
def test_log_goes_to_the_run_folder_too_and_after_what_is_there(tmp_path):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        for line in ("first start", "second start"):
            setup_logging("replay", 1)
            keep_log(tmp_path, "replay", 1)
            logging.getLogger("x").info(line)
    finally:
        for handler in set(root.handlers) - set(before[0]):
            handler.close()
        root.handlers[:], root.level = before
    first, second = (tmp_path / "logs" / "replay-1.log").read_text().splitlines()
    assert first.endswith("replay-1 INFO first start")
    assert second.endswith("replay-1 INFO second start")


class Closing:
    """A tracker that only notes how it was closed."""

    def __init__(self):
        self.codes = []

    def close(self, exit_code=0):
        self.codes.append(exit_code)


@pytest.mark.parametrize(
    ("error", "is_failed", "code"), [(None, False, 0), (ValueError(), False, 1), (None, True, 1)]
)
def test_tracker_is_closed_as_failed_after_an_exception_or_a_failed_thread(
    error, is_failed, code, monkeypatch, tmp_path
):
    closing, stop = Closing(), StopSignal()
    monkeypatch.setattr(run_tracking, "run_tracker", lambda *args, **kwargs: closing)
    try:
        with tracked(tiny_run(tmp_path, tiny_config()), "actor", 0, stop=stop):
            if is_failed:
                stop.fail("x", RuntimeError())
            if error:
                raise error
    except ValueError:
        assert error
    assert closing.codes == [code]

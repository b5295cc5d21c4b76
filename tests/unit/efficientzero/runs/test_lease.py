"""One process of each name writes into a run folder: the newest."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deploy.checks.leftovers import end_earlier_launch
from deploy.checks.preflight import PreflightError
from efficientzero.process.runtime import EXIT_FINAL, LAUNCHER_PID_VARIABLE, StopSignal
from efficientzero.runs.checkpoint import list_checkpoints, save_checkpoint
from efficientzero.runs.lease import LEASE_FOLDER, Fenced, take_lease, take_over
from efficientzero.runs.run_processes import AtWork, check_alone, processes_in
from learner.pacing.governor import Governor
from learner.records.fairness_record import FairnessRecord
from learner.records.own_summary import summarized
from learner.records.run_record import EpisodeResult, RunRecord
from learner.records.saver import CheckpointSaver
from tests.support.fakes import tiny_config, tiny_run

LEARNER = "learner-0"


def test_newer_holder_fences_the_one_before(tmp_path):
    first = take_lease(tmp_path, LEARNER, launch=0)
    other = take_lease(tmp_path, "replay-0", launch=0)
    first.check()
    second = take_lease(tmp_path, LEARNER, launch=0)
    with pytest.raises(Fenced, match=rf"learner-0 \(process {os.getpid()} on .*taken over"):
        first.check()
    second.check()
    other.check()


def test_launcher_that_goes_on_fences_every_process_of_before(tmp_path):
    launcher = take_over(tmp_path, launch=0)
    before = [launcher, *(take_lease(tmp_path, name, launch=0) for name in (LEARNER, "replay-0"))]
    take_over(tmp_path, launch=1).check()
    for lease in before:
        with pytest.raises(Fenced):
            lease.check()


def test_process_of_an_earlier_launch_that_comes_late_gets_no_lease(tmp_path):
    take_over(tmp_path, launch=0)
    take_over(tmp_path, launch=1)
    with pytest.raises(Fenced, match="learner-0 is of launch 0"):
        take_lease(tmp_path, LEARNER, launch=0)
    lease = take_lease(tmp_path, LEARNER, launch=1)
    with pytest.raises(Fenced):
        take_lease(tmp_path, LEARNER, launch=0)
    lease.check()


def test_what_damage_leaves_of_a_lease_fences_nobody(tmp_path):
    lease = take_lease(tmp_path, LEARNER, launch=0)
    lease.path.write_text("{")
    lease.check()
    shutil.rmtree(tmp_path / LEASE_FOLDER)
    lease.check()
    take_lease(tmp_path, LEARNER, launch=0).check()


def test_copy_of_a_folder_goes_on_without_the_original(tmp_path):
    original = tmp_path / "a"
    lease = take_over(original, launch=0)
    shutil.copytree(original, tmp_path / "b")
    take_over(tmp_path / "b", launch=1)
    lease.check()


def test_fenced_learner_writes_nothing(tmp_path):
    lease = take_lease(tmp_path, LEARNER, launch=0)
    checkpoints = tmp_path / "checkpoints"
    save_checkpoint(checkpoints, 1, {"train_step": 1}, keep=2, check_lease=lease.check)
    record = RunRecord(tmp_path, check_lease=lease.check)
    fairness = FairnessRecord(tmp_path, tiny_config(), check_lease=lease.check)
    snapshots = []
    saver = CheckpointSaver(
        checkpoints,
        keep=2,
        stop=StopSignal(),
        snapshot_replay=lambda: snapshots.append(1) or "name",
        check_lease=lease.check,
    )
    take_lease(tmp_path, LEARNER, launch=0)
    before = contents(tmp_path)

    with pytest.raises(Fenced):
        saver.save({"train_step": 2}, wait=True)
    record.add_episodes(0, [EpisodeResult(1.0, 3)], env_steps=3)
    with pytest.raises(Fenced):
        record.check()
    for write in (fairness.begin, fairness.save):
        with pytest.raises(Fenced):
            write()
    with pytest.raises(Fenced):
        record.restore({"wall_s": 0.0, "max_priority": 1.0}, env_steps=0, train_steps=0)
    assert contents(tmp_path) == before
    assert snapshots == []


def test_fenced_learner_without_a_launcher_leaves_no_summary(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv(LAUNCHER_PID_VARIABLE, raising=False)
    config = tiny_config()
    run = tiny_run(tmp_path, config)
    lease = take_lease(run.directory, LEARNER, launch=0)
    take_lease(run.directory, LEARNER, launch=0)
    parts = (run, Governor(config), RunRecord(run.directory))
    end = {"is_complete": lambda: False, "stop": StopSignal(), "check_lease": lease.check}
    with pytest.raises(Fenced), summarized(*parts, **end):
        lease.check()
    assert not (run.directory / "summary.json").exists()
    assert "no summary: learner-0" in caplog.text


def test_checkpoint_of_a_learner_fenced_while_it_writes_does_not_appear(tmp_path):
    lease = take_lease(tmp_path, LEARNER, launch=0)
    checks = []

    def check():
        lease.check()
        if not checks:
            take_lease(tmp_path, LEARNER, launch=0)
        checks.append(1)

    with pytest.raises(Fenced):
        state = {"train_step": 3, "weights": np.zeros(3).tolist()}
        save_checkpoint(tmp_path / "checkpoints", 3, state, keep=1, check_lease=check)
    assert list_checkpoints(tmp_path / "checkpoints") == []
    assert list((tmp_path / "checkpoints").iterdir()) == []


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fenced_process_ends_with_the_code_that_nobody_starts_again(tmp_path):
    code = f"""
import sys
from pathlib import Path
from efficientzero.runs.lease import take_lease
from efficientzero.process.runtime import run_role
def main(stop):
    lease = take_lease(Path({str(tmp_path)!r}), "learner-0", launch=0)
    take_lease(Path({str(tmp_path)!r}), "learner-0", launch=0)
    lease.check()
sys.exit(run_role("learner", 0, main))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == EXIT_FINAL
    assert "has taken over" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture
def role(tmp_path):
    """Start what looks like a learner on a folder, as an orphan or not."""
    started = []
    (tmp_path / "learner.py").write_text("import time\ntime.sleep(600)\n")

    def start(folder: Path, *, is_orphan: bool, is_stopped: bool = False) -> int:
        config = folder / "config.json"
        config.touch()
        # 4194304 is more than any process id.
        launcher = "4194304" if is_orphan else str(os.getpid())
        process = subprocess.Popen(
            [sys.executable, "-m", "learner", "--config", str(config), "--index", "0"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": "", LAUNCHER_PID_VARIABLE: launcher},
        )
        started.append(process)
        if is_stopped:
            process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 60.0
        while not processes_in(folder):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.wait(60.0)


def test_hung_orphan_is_named_and_ended_and_nobody_else(tmp_path, role, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    hung = role(tmp_path / "a", is_orphan=True, is_stopped=True)
    other = role(tmp_path / "b", is_orphan=True)
    end_earlier_launch(tmp_path / "a", grace_s=0.2)
    assert processes_in(tmp_path / "a") == []
    assert [process.pid for process in processes_in(tmp_path / "b")] == [other]
    printed = capsys.readouterr().err
    assert (
        f"waiting for what an earlier launch has left here to end: learner-0 (process {hung})"
        in (printed)
    )
    assert "killed, because it did not end within 0 s" in printed


def test_process_that_has_its_launcher_is_left_alone(tmp_path, role):
    pid = role(tmp_path, is_orphan=False)
    with pytest.raises(PreflightError, match=rf"running already: learner-0 \(process {pid}\)"):
        end_earlier_launch(tmp_path, grace_s=0.0)
    with pytest.raises(AtWork, match=f"process {pid} runs already"):
        check_alone(tmp_path, LEARNER)
    check_alone(tmp_path, "replay-0")
    assert [process.pid for process in processes_in(tmp_path)] == [pid]


def test_copy_names_no_process_of_the_original(tmp_path, role):
    (tmp_path / "a").mkdir()
    pid = role(tmp_path / "a", is_orphan=True)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    end_earlier_launch(tmp_path / "b", grace_s=0.0)
    assert [process.pid for process in processes_in(tmp_path / "a")] == [pid]

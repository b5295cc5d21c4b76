"""A full disk is a pause and not an end: writes that wait, and the room kept for the last one."""

import errno
import os
import threading
import time

import pytest
import torch

from efficientzero.config.fields import BudgetConfig, Config
from efficientzero.process import disk_space
from efficientzero.process.disk_space import DiskPause, Reserve, check_room, is_full
from efficientzero.process.runtime import StopSignal
from efficientzero.runs.checkpoint import list_checkpoints, newest_checkpoint
from efficientzero.runs.results.env_step_journal import EnvStepJournal
from efficientzero.runs.run_folder import read_lines
from learner.pacing.governor import Governor
from learner.records import result_files
from learner.records.run_record import EpisodeResult, RunRecord
from learner.records.saver import CheckpointSaver
from replay.snapshots.request import SnapshotFailed

PATIENCE_S = 60.0
LOOK_S = 0.01


class Disk:
    """A disk that takes nothing while it is full, and whose reserve can make room."""

    def __init__(self, directory):
        self.is_full, self.error, self.tries = False, errno.ENOSPC, 0
        self.reserve = directory / "reserved_space"
        self.opens_with_reserve = False

    def check(self):
        self.tries += 1
        if self.is_full and not (self.opens_with_reserve and not self.reserve.exists()):
            raise OSError(self.error, os.strerror(self.error))


@pytest.fixture
def disk(tmp_path, monkeypatch):
    disk = Disk(tmp_path)
    real_save, real_append = torch.save, result_files.append_lines

    def save(state, file):
        file.write(b"half")
        disk.check()
        file.seek(0)
        real_save(state, file)

    def append(path, lines):
        disk.check()
        real_append(path, lines)

    monkeypatch.setattr(torch, "save", save)
    monkeypatch.setattr(result_files, "append_lines", append)
    return disk


def pause_of(stop, said):
    pause = DiskPause(stop, look_s=LOOK_S)
    pause.on_change = said.append
    return pause


def state_of(step):
    return {"train_step": step, "w": torch.ones(10)}


def wait_until(holds):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(LOOK_S)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_a_save_waits_for_room_and_holds_the_run_meanwhile(tmp_path, disk, error):
    stop, said = StopSignal(), []
    saver = CheckpointSaver(tmp_path, keep=2, stop=stop, pause=pause_of(stop, said))
    disk.is_full, disk.error = True, error
    saver.save(state_of(3), wait=False)
    wait_until(lambda: disk.tries > 2)
    assert said[-1].startswith("disk full: ")
    assert "MB free" in said[-1]
    assert os.listdir(tmp_path) == []  # no half of a file
    disk.is_full = False
    wait_until(lambda: said[-1] == "")
    assert newest_checkpoint(tmp_path)["train_step"] == 3
    assert not stop.is_set()


def test_the_last_save_uses_the_room_kept_for_it(tmp_path, disk):
    stop, folder = StopSignal(), tmp_path / "checkpoints"
    reserve = Reserve(tmp_path)
    saver = CheckpointSaver(
        folder,
        keep=2,
        stop=stop,
        pause=DiskPause(stop, look_s=LOOK_S),
        reserve=reserve,
        snapshot_bytes=lambda: 5_000,
    )
    saver.save(state_of(1), wait=False)
    wait_until(disk.reserve.exists)
    wait_until(lambda: disk.reserve.stat().st_size > 5_000)
    held = disk.reserve.stat()
    assert held.st_size > list_checkpoints(folder)[-1].stat().st_size + 5_000
    assert held.st_blocks * 512 >= held.st_size  # and not a hole
    disk.is_full = disk.opens_with_reserve = True
    saver.save(state_of(2), wait=False)
    wait_until(lambda: disk.tries > 3)
    stop.set("SIGINT")
    saver.save(state_of(4), wait=True)
    assert newest_checkpoint(folder)["train_step"] == 4
    assert stop.failure is None


def test_weights_are_saved_where_the_snapshot_of_replay_has_no_room(tmp_path):
    stop = StopSignal()
    stop.set("SIGINT")

    def snapshot():
        raise OSError(errno.ENOSPC, "No space left on device")

    saver = CheckpointSaver(
        tmp_path, keep=2, stop=stop, snapshot_replay=snapshot, pause=DiskPause(stop)
    )
    saver.save(state_of(2), wait=True)
    assert newest_checkpoint(tmp_path)["replay_snapshot"] == ""


def test_a_stopped_run_without_room_says_so_and_does_not_wait(tmp_path, disk):
    stop = StopSignal()
    saver = CheckpointSaver(tmp_path, keep=2, stop=stop, pause=DiskPause(stop))
    stop.set("SIGINT")
    disk.is_full = True
    with pytest.raises(OSError, match="No space"):
        saver.save(state_of(2), wait=True)


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.EACCES])
def test_other_errors_of_a_disk_stay_errors(tmp_path, disk, error):
    stop, said = StopSignal(), []
    pause = pause_of(stop, said)
    record = RunRecord(tmp_path, pause)
    disk.is_full, disk.error = True, error
    record.add_episodes(0, [EpisodeResult(1.0, 2)], env_steps=2)
    with pytest.raises(OSError, match=r"\[Errno"):
        record.check()
    with pytest.raises(OSError, match=r"\[Errno"):
        pause.write(disk.check, tmp_path / "file")
    assert "".join(said) == ""


def test_the_wait_is_bounded(tmp_path, disk, monkeypatch):
    disk.is_full = True
    pause = DiskPause(StopSignal(), longest_wait_s=0.05, look_s=LOOK_S)
    with pytest.raises(OSError, match="No space"):
        pause.write(disk.check, tmp_path / "file")
    now = [100.0]
    monkeypatch.setattr("efficientzero.process.disk_space.time.monotonic", lambda: now[0])
    record = RunRecord(tmp_path, pause)
    record.add_episodes(0, [EpisodeResult(1.0, 2)], env_steps=2)
    record.check()
    now[0] += 0.1
    with pytest.raises(OSError, match="No space"):
        record.check()


def test_results_wait_in_memory_and_are_written_in_order(tmp_path, disk):
    said = []
    record = RunRecord(tmp_path, pause_of(StopSignal(), said))
    record.add_episodes(0, [EpisodeResult(1.0, 1)], env_steps=1)
    disk.is_full = True
    record.add_episodes(0, [EpisodeResult(2.0, 1)], env_steps=2)
    record.add_episodes(0, [EpisodeResult(3.0, 1)], env_steps=3)
    record.check()
    assert record.snapshot().episodes == 3
    assert "episodes.jsonl" in said[-1]
    disk.is_full = False
    record.check()
    assert [line["return"] for line in read_lines(tmp_path / "episodes.jsonl")] == [1.0, 2.0, 3.0]
    assert said[-1] == ""
    disk.is_full = True
    record.add_episodes(0, [EpisodeResult(4.0, 1)], env_steps=4)
    with pytest.raises(OSError, match="No space"):  # never lost without a word
        record.finish()


def test_a_snapshot_that_met_a_full_disk_is_asked_for_again(tmp_path):
    stop, asked = StopSignal(), []

    def snapshot():
        asked.append(None)
        if len(asked) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return "snapshot-3"

    saver = CheckpointSaver(
        tmp_path,
        keep=2,
        stop=stop,
        snapshot_replay=snapshot,
        pause=DiskPause(stop, look_s=LOOK_S),
    )
    saver.save(state_of(1), wait=True)
    assert newest_checkpoint(tmp_path)["replay_snapshot"] == "snapshot-3"
    assert not is_full(SnapshotFailed("replay is away"))


def test_nobody_plays_or_trains_during_the_pause():
    config = Config(budget=BudgetConfig(env_steps=1_000, train_steps=100, last_train_steps=0))
    governor, stop, granted = Governor(config), StopSignal(), []
    governor.pause("disk full: /runs/a, 0.0 MB free")

    def ask(request, wait_s):
        grant = governor.acquire_env_steps(
            0,
            incarnation=1,
            request=request,
            completed=0,
            wanted=4,
            wait_s=wait_s,
            given_up=lambda: False,
        )
        granted.append(grant.granted)

    ask(1, 0.02)
    assert granted == [0]
    assert governor.why_waiting().startswith("disk full")
    assert not governor.collect_more_if_stuck()
    assert not governor.wait_to_train(0, 0.02, stop)
    waiting = threading.Thread(target=ask, args=(2, PATIENCE_S))
    waiting.start()
    time.sleep(0.05)
    governor.pause("")
    waiting.join(PATIENCE_S)
    assert granted == [0, 4]
    assert "disk" not in governor.why_waiting()


def test_a_count_has_its_place_on_the_disk_before_the_disk_is_full(tmp_path):
    EnvStepJournal(tmp_path, 0)
    assert (tmp_path / "env_steps-0").stat().st_size == 8
    assert EnvStepJournal(tmp_path, 0).read() == 0


def test_a_disk_that_is_as_good_as_full_is_full(tmp_path, monkeypatch):
    check_room(tmp_path)
    monkeypatch.setattr(disk_space, "free_bytes", lambda path: 100_000)
    with pytest.raises(OSError, match="No space"):
        check_room(tmp_path)

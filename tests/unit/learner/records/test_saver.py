"""Checkpoints written in the background."""

import errno
import threading

import pytest
import torch

from efficientzero.process.runtime import StopSignal
from efficientzero.runs.checkpoint import list_checkpoints, load_checkpoint, newest_checkpoint
from learner.records.saver import CheckpointSaver

PATIENCE_S = 60.0


def state_of(step, **more):
    return {"train_step": step, "weights": {"w": torch.full((3,), float(step))}, **more}


def test_state_is_that_of_the_call_however_long_the_writing_takes(tmp_path):
    may_go_on, written = threading.Event(), threading.Event()

    def snapshot():
        assert may_go_on.wait(PATIENCE_S)
        written.set()
        return "snapshot-7"

    saver = CheckpointSaver(tmp_path, keep=2, stop=StopSignal(), snapshot_replay=snapshot)
    state = state_of(7)
    assert saver.save(state, wait=False)
    state["weights"]["w"].zero_()
    assert list_checkpoints(tmp_path) == []  # nothing appears before replay's snapshot
    assert not saver.save(state_of(8), wait=False)  # one at a time
    may_go_on.set()
    assert written.wait(PATIENCE_S)
    saver.save(state_of(9), wait=True)
    first, second = (load_checkpoint(path) for path in list_checkpoints(tmp_path))
    assert first["weights"]["w"].tolist() == [7.0] * 3
    assert first["replay_snapshot"] == "snapshot-7"
    assert second["train_step"] == 9


def test_weights_are_saved_also_without_replay(tmp_path, caplog):
    def snapshot():
        raise RuntimeError("replay is away")

    CheckpointSaver(tmp_path, keep=2, stop=StopSignal(), snapshot_replay=snapshot).save(
        state_of(3), wait=True
    )
    assert load_checkpoint(list_checkpoints(tmp_path)[0])["replay_snapshot"] == ""
    assert "replay is away" in caplog.text


def test_full_disk_keeps_training_and_the_checkpoints_before(tmp_path, monkeypatch, caplog):
    saver = CheckpointSaver(tmp_path, keep=2, stop=StopSignal())
    saver.save(state_of(1), wait=True)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        saver.save(state_of(2), wait=False)
        with pytest.raises(OSError, match="No space"):
            saver.save(state_of(3), wait=True)
    assert "no checkpoint of train_step 2" in caplog.text
    assert [load_checkpoint(path)["train_step"] for path in list_checkpoints(tmp_path)] == [1]
    saver.save(state_of(4), wait=True)
    assert newest_checkpoint(tmp_path)["train_step"] == 4


def test_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path, caplog):
    saver = CheckpointSaver(tmp_path, keep=3, stop=StopSignal())
    for step in (1, 2, 3):
        saver.save(state_of(step), wait=True)
    newest = list_checkpoints(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    assert newest_checkpoint(tmp_path)["train_step"] == 2
    assert "trying the one before" in caplog.text
    for path in list_checkpoints(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of 3 checkpoints"):
        newest_checkpoint(tmp_path)


def test_no_checkpoint_is_no_error(tmp_path):
    assert newest_checkpoint(tmp_path / "none") is None


def test_last_save_does_not_wait_for_ever_for_a_replay_that_hangs(tmp_path, caplog):
    may_end = threading.Event()
    saver = CheckpointSaver(
        tmp_path,
        keep=2,
        stop=StopSignal(),
        snapshot_replay=lambda: str(may_end.wait(PATIENCE_S)),
        patience_s=0.01,
    )
    saver.save(state_of(1), wait=False)
    saver.save(state_of(2), wait=True)
    assert "the one before is not written yet" in caplog.text
    assert newest_checkpoint(tmp_path)["train_step"] == 2
    may_end.set()

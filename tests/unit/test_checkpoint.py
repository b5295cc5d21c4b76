"""Checkpoints are whole, few and safe."""

import pickle

import pytest
import torch

from efficientzero.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint


def test_saved_state_comes_back_equal(tmp_path):
    state = {"train_step": 7, "network": {"w": torch.arange(3.0)}}
    loaded = load_checkpoint(save_checkpoint(tmp_path, 7, state, keep=2))
    assert loaded["train_step"] == 7
    assert torch.equal(loaded["network"]["w"], torch.arange(3.0))


def test_only_the_newest_are_kept(tmp_path):
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, step, {"train_step": step}, keep=2)
    assert [p.name for p in list_checkpoints(tmp_path)] == [
        "checkpoint_00000010.pt",
        "checkpoint_00000015.pt",
    ]


def test_a_failed_save_leaves_the_old_checkpoint_and_no_part(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, {"train_step": 1}, keep=1)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, 2, {"train_step": 2}, keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint_00000001.pt"]


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = save_checkpoint(tmp_path, 1, {"train_step": 1, "w": torch.zeros(1000)}, keep=1)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"checkpoint_00000001\.pt: not a readable checkpoint"):
        load_checkpoint(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "checkpoint_00000001.pt"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()

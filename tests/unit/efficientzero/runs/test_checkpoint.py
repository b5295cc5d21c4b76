"""Checkpoints are whole, few and safe."""

import errno
import hashlib
import pickle
import resource

import numpy as np
import pytest
import torch

from efficientzero.runs.checkpoint import (
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    weights_sha256,
)


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


def test_a_disk_that_refuses_in_the_middle_is_an_os_error(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError) as refused:
            save_checkpoint(tmp_path, 1, {"train_step": 1, "w": torch.zeros(100_000)}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = save_checkpoint(tmp_path, 1, {"train_step": 1, "w": torch.zeros(1000)}, keep=1)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"checkpoint_00000001\.pt: not a readable checkpoint"):
        load_checkpoint(path)


def test_one_wrong_byte_in_a_tensor_is_seen(tmp_path):
    weights = torch.full((1000,), 0.125)
    path = save_checkpoint(tmp_path, 1, {"train_step": 1, "w": weights}, keep=1)
    raw = bytearray(path.read_bytes())
    raw[raw.index(weights.numpy().tobytes()) + 2001] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"checkpoint_00000001\.pt: not a readable .*checksum"):
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


def test_digest_is_that_of_names_shapes_types_and_bytes():
    weights = {"b": torch.tensor([1.0, 2.0]), "a": torch.tensor(3)}
    text = b"a () torch.int64\n" + np.int64(3).tobytes()
    text += b"b (2,) torch.float32\n" + np.float32([1.0, 2.0]).tobytes()
    assert weights_sha256(weights) == hashlib.sha256(text).hexdigest()


def test_digest_sees_one_bit_and_no_memory_layout():
    weights = {"w": torch.arange(24.0).reshape(1, 2, 3, 4)}
    changed = {"w": weights["w"].clone()}
    changed["w"][0, 1, 2, 3] = float(np.nextafter(np.float32(23), np.float32(24)))
    assert weights_sha256(changed) != weights_sha256(weights)
    layout = {"w": weights["w"].to(memory_format=torch.channels_last)}
    assert weights_sha256(layout) == weights_sha256(weights)

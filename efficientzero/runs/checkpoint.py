"""Checkpoints: written whole or not at all, the newest few kept, read without running code.

Called by the learner (save) and by every process that starts from a checkpoint (load).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

_NAME = "checkpoint_{:08d}.pt"
_PATTERN = re.compile(r"checkpoint_(\d{8})\.pt")

log = logging.getLogger(__name__)


class UnreadableCheckpoint(ValueError):
    """A checkpoint could not be read from the file system; it may be undamaged."""


def save_checkpoint(
    folder: Path,
    train_step: int,
    state: dict[str, Any],
    *,
    keep: int,
    check_lease: Callable[[], None] = lambda: None,
) -> Path:
    """Write ``state`` as the checkpoint of ``train_step`` and delete all but the newest ``keep``.

    The file appears under its name only once it is complete and on the disk.

    Args:
        folder: of the checkpoints.
        train_step: names the file.
        state: the content.
        keep: number of newest checkpoints kept.
        check_lease: raises if another process owns the folder now.

    Raises:
        OSError: disk full, folder not writable; earlier checkpoints stay.
    """
    check_lease()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _NAME.format(train_step)
    # Not a name that another learner would use: a fenced learner may still be writing.
    temporary = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            _save(state, file)
            file.flush()
            os.fsync(file.fileno())
        check_lease()  # writing takes its time
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def _save(state: dict[str, Any], file: BinaryIO) -> None:
    """Write ``state``; raise a disk's OSError itself, which torch hides behind its own error."""
    try:
        torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of ``folder``, oldest first; none if there is no folder.

    Raises:
        OSError: the folder cannot be read, which must not look like a run without checkpoints.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(folder / name for name in names if _PATTERN.fullmatch(name))


def newest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Read the newest checkpoint that is not damaged, or None where there is none.

    Raises:
        UnreadableCheckpoint: the newest that is not damaged cannot be read. It is not passed over
            for an older one, which would undo train_steps that are on disk.
        ValueError: there are checkpoints, and all of them are damaged.
    """
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            return load_checkpoint(path)
        except UnreadableCheckpoint:
            raise
        except ValueError as error:
            log.warning("%s; trying the one before", error)
    if paths:
        raise ValueError(f"{folder}: none of {len(paths)} checkpoints can be read")
    return None


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes, dtypes and bytes of CPU tensors, in hexadecimal.

    Equal for two networks only if every weight and statistic is equal bit by bit.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        # Independent of the memory layout: channels-last weights are hashed in index order.
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without unpickling code.

    Raises:
        UnreadableCheckpoint: the file system does not return its content.
        ValueError: the file is no checkpoint, or a damaged one.
    """
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise UnreadableCheckpoint(f"{path}: cannot be read: {error.strerror}") from error
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch writes checksums but does not check them
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        # torch.load answers damage with half a dozen unrelated exception types.
        raise ValueError(
            f"{path}: not a readable checkpoint: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(state, dict) or "train_step" not in state:
        raise ValueError(
            f"{path}: got {type(state).__name__}, wanted a checkpoint with a train_step"
        )
    return state

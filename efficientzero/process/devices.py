"""Where a process computes: device, CPU threads and precision, chosen in one place."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import logging
from typing import Literal

import torch

from efficientzero.config import ClusterConfig

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST_INT = 2**31 - 1

log = logging.getLogger(__name__)


def setup_torch(cluster: ClusterConfig) -> torch.device:
    """Set the CPU threads and the allocator, and return the device of this process.

    Raises:
        ValueError: a CUDA device was asked for and there is none.
    """
    keep_freed_memory()
    torch.set_num_threads(cluster.threads_per_process)
    torch.use_deterministic_algorithms(cluster.deterministic)
    if cluster.device == "auto":
        use_cuda = torch.cuda.is_available() and not cluster.deterministic
        return torch.device("cuda" if use_cuda else "cpu")
    try:
        device = torch.device(cluster.device)
    except RuntimeError as error:
        raise ValueError(
            f"cluster.device: got {cluster.device!r}, wanted auto, cpu, cuda or cuda:N"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"cluster.device: got {cluster.device!r}, but torch finds no CUDA device: use cpu"
        )
    return device


def with_usable_device(cluster: ClusterConfig) -> ClusterConfig:
    """Return the settings with ``auto`` for a CUDA device that this machine does not have.

    For what reads a finished run: its device was chosen for the machine that trained it.
    """
    if not cluster.device.startswith("cuda"):
        return cluster
    number = int(cluster.device.partition(":")[2] or 0)
    if torch.cuda.is_available() and number < torch.cuda.device_count():
        return cluster
    log.warning("the run's device %s is not in this machine; another one is used", cluster.device)
    return dataclasses.replace(cluster, device="auto")


def keep_freed_memory() -> None:
    """Have the C library keep the memory of freed tensors for the next ones.

    glibc gives large blocks back at once, and the kernel hands them out again page by page, each
    filled with zeros: a good part of a train_step on a CPU. The process stays as large as it once
    was. Without glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)


def precision_context(
    precision: Literal["auto", "float32", "bfloat16"], device: torch.device
) -> contextlib.AbstractContextManager[object]:
    """Return the autocast context of forward passes on ``device``.

    The cache of cast weights is off: a CUDA graph must not refer to it, and weights change.
    """
    automatic = precision == "auto" and device.type == "cuda"
    if automatic or precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
    return contextlib.nullcontext()

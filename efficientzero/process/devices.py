"""Where a process computes: device, CPU threads and precision, chosen in one place."""

from __future__ import annotations

import contextlib
import ctypes
import logging
from typing import Literal

import torch

from efficientzero.config import ClusterConfig, is_device, role_device, with_role_device
from efficientzero.process.runtime import PlainError

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST_INT = 2**31 - 1

log = logging.getLogger(__name__)


class NoSuchDevice(PlainError):
    """The config names a device that this machine does not have."""

    is_permanent = True


def setup_torch(cluster: ClusterConfig, role: str, index: int) -> torch.device:
    """Set the CPU threads and the allocator, and return the device of this process.

    A CUDA device with a number becomes torch's current one, so that nothing is kept on another.

    Args:
        cluster: the run's settings.
        role: learner (with its further ranks), actor, reanalyzer or evaluator.
        index: of the process in its role; a learner's is its rank.

    Raises:
        NoSuchDevice: the name is none, or there is no such CUDA device.
    """
    keep_freed_memory()
    torch.set_num_threads(cluster.threads_per_process)
    torch.use_deterministic_algorithms(cluster.deterministic)
    name = role_device(cluster, role, index)
    if name == "auto":
        use_cuda = torch.cuda.is_available() and not cluster.deterministic
        return torch.device("cuda" if use_cuda else "cpu")
    if not is_device(name):
        raise NoSuchDevice(f"device of {role}: got {name!r}, wanted auto, cpu, cuda or cuda:N")
    device = torch.device(name)
    if not _is_there(device):
        raise NoSuchDevice(
            f"device of {role}-{index}: got {name}, but torch finds "
            f"{torch.cuda.device_count() or 'no'} CUDA devices"
        )
    if device.index is not None:
        torch.cuda.set_device(device)
    return device


def with_usable_device(cluster: ClusterConfig, role: str) -> ClusterConfig:
    """Return the settings with ``auto`` for a CUDA device that this machine does not have.

    For what reads a finished run: its device was chosen for the machine that trained it.

    Args:
        cluster: of the run.
        role: as whose first process the reader computes.
    """
    name = role_device(cluster, role, 0)
    if name == "auto" or _is_there(torch.device(name)):
        return cluster
    log.warning("the run's device %s is not in this machine; another one is used", name)
    return with_role_device(cluster, role, "auto")


def _is_there(device: torch.device) -> bool:
    if device.type == "cpu":
        return True
    return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()


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

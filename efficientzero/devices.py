"""Where a process computes: device, CPU threads and precision, chosen in one place."""

from __future__ import annotations

import contextlib
from typing import Literal

import torch

from efficientzero.config import ClusterConfig


def setup_torch(cluster: ClusterConfig) -> torch.device:
    """Set the CPU threads and return the device of this process.

    Raises:
        ValueError: a CUDA device was asked for and there is none.
    """
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

"""What can be known to go wrong before the first process starts.

Called by ``prepare``. Each check raises ``PreflightError`` with one line: what was got, what to do.
Imports neither torch nor a role, so that the answer comes at once.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import math
import os
import re
import secrets
import shutil
import socket
from importlib import metadata, util
from pathlib import Path

import numpy as np

from efficientzero.config import ClusterConfig, Config
from efficientzero.rpc.credentials import CredentialsError, check_bind
from efficientzero.schema import EnvSpec

_MIN_FREE_BYTES = 200 * 10**6
MAX_MEMORY_SHARE = 0.8
_MAX_RUN_ID_LENGTH = 100
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")

# Measured: 2.2 KB per transition of 96x96 RGB frames, of which 1.2 KB belong to the item itself
# and the rest is the frame at 1/28 of its size (zstd blocks of 8). Vectors hardly compress.
_ITEM_BYTES = 1_200
_IMAGE_COMPRESSION = 28

_CGROUP_LIMITS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


class PreflightError(ValueError):
    """The run cannot start; the message is one line for a person."""


def has_cuda_device() -> bool:
    """Tell whether torch will probably find a CUDA device, without importing it."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    with contextlib.suppress(metadata.PackageNotFoundError):
        if metadata.version("torch").endswith("+cpu"):
            return False
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def describe_device(cluster: ClusterConfig) -> str:
    """Say where the networks will run."""
    if cluster.device != "auto":
        return cluster.device
    if cluster.deterministic:
        return "cpu (the run is deterministic)"
    return "cuda (chosen by auto)" if has_cuda_device() else "cpu (no usable CUDA device found)"


def check_installation() -> None:
    """Check that what only the roles import can be imported by them."""
    missing = [name for name in ("torch", "reverb") if util.find_spec(name) is None]
    if missing:
        raise PreflightError(f"not installed: {', '.join(missing)}; run: make setup")
    try:
        importlib.import_module("mcts_cpp")
    except ImportError as error:
        raise PreflightError(f"mcts_cpp: {one_line(error)}; run: make setup") from error


def check_device(cluster: ClusterConfig) -> None:
    """Check that a CUDA device that was asked for can exist."""
    got = f"--cluster.device: got {cluster.device!r}"
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", cluster.device):
        raise PreflightError(f"{got}, wanted auto, cpu, cuda or cuda:N")
    if cluster.device.startswith("cuda") and not has_cuda_device():
        raise PreflightError(f"{got}, but the machine or its torch has no CUDA device; use auto")


def choose_ports(cluster: ClusterConfig) -> tuple[int, int]:
    """Return the ports of replay and learner; those given must be free, 0 becomes a free one."""
    wanted = {"replay-port": cluster.replay_port, "learner-port": cluster.learner_port}
    with contextlib.ExitStack() as stack:  # both are held at once, so that they differ
        # Those given go first: a free one must not take what the other was given.
        for option, port in sorted(wanted.items(), key=lambda item: item[1] == 0):
            held = stack.enter_context(socket.socket())
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                held.bind((cluster.bind_host, port))
                held.listen(1)
            except (OSError, OverflowError) as error:
                raise PreflightError(
                    f"--cluster.{option}: got {port}, which cannot be used ({reason(error)}); "
                    "choose another, or 0 for a free one"
                ) from error
            wanted[option] = held.getsockname()[1]
    return wanted["replay-port"], wanted["learner-port"]


def addresses(cluster: ClusterConfig) -> tuple[str, str]:
    """Return the addresses at which processes on this host reach replay and the learner.

    Raises:
        PreflightError: a port is taken, or credentials are missing.
    """
    try:
        check_bind(cluster.bind_host)
    except CredentialsError as error:
        raise PreflightError(str(error)) from error
    replay_port, learner_port = choose_ports(cluster)
    here = "127.0.0.1" if cluster.bind_host == "0.0.0.0" else cluster.bind_host
    return f"{cluster.replay_host or here}:{replay_port}", f"{here}:{learner_port}"


def replay_bytes(config: Config, spec: EnvSpec) -> int:
    """Estimate the memory of a full replay, bytes."""
    frame_bytes = math.prod(spec.frame_shape) * np.dtype(spec.frame_dtype).itemsize
    stored = frame_bytes // _IMAGE_COMPRESSION if spec.is_image else frame_bytes
    return (_ITEM_BYTES + stored) * min(config.replay.capacity, config.budget.env_steps)


def check_memory(config: Config, spec: EnvSpec) -> str:
    """Check that a full replay fits, and say how large it gets."""
    needed, available = replay_bytes(config, spec), available_memory_bytes()
    text = f"replay grows to about {size(needed)} of {size(available)} available"
    if needed > MAX_MEMORY_SHARE * available:
        capacity = f"{config.replay.capacity:,}"
        raise PreflightError(f"--replay.capacity: got {capacity}, but {text}; lower it")
    return text


def available_memory_bytes() -> int:
    """Return the memory that new processes can use: the machine's, or its container's if less."""
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(meminfo["MemAvailable"].split()[0]) * 1024
    cgroup = Path("/sys/fs/cgroup")
    for limit, used in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such controller, or "max"
            left = int((cgroup / limit).read_text()) - int((cgroup / used).read_text())
            available = min(available, left)
    return available


def check_run_id(run_id: str) -> None:
    """Check a name given for the run folder."""
    if not _RUN_ID.fullmatch(run_id) or len(run_id) > _MAX_RUN_ID_LENGTH:
        raise PreflightError(
            f"--run-id: got {run_id!r}, wanted at most {_MAX_RUN_ID_LENGTH} letters, digits "
            "and . _ = + -, the first a letter or digit"
        )


def check_runs_dir(runs_dir: Path) -> None:
    """Check that run folders can be made there and that the disk has room."""
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        probe = runs_dir / f".write-test-{secrets.token_hex(4)}"
        probe.mkdir()
        probe.rmdir()
        free = shutil.disk_usage(runs_dir).free
    except OSError as error:
        raise PreflightError(
            f"--runs-dir: cannot write to {runs_dir} ({reason(error)}); choose another folder"
        ) from error
    if free < _MIN_FREE_BYTES:
        raise PreflightError(
            f"--runs-dir: {runs_dir} has {size(free)} free, wanted at least "
            f"{size(_MIN_FREE_BYTES)}; free some space or choose another folder"
        )


def size(num_bytes: int) -> str:
    """Return a number of bytes for a person."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 10**9 else f"{num_bytes / 1e6:.0f} MB"


def reason(error: Exception) -> str:
    """Return what the system said, in one line."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(error)


def one_line(error: Exception) -> str:
    """Return an error's message without line breaks."""
    return " ".join(str(error).split())

"""Which process of a run computes where, and whether there is such a device on this machine.

Called by ``prepare``, ``plan`` and the ablations. Does not import torch: the answer comes at once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from deploy.checks.preflight import PreflightError
from deploy.supervising import places
from efficientzero.config import DEVICE_ROLES, Config, is_device, role_device, role_devices


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    numbers = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    return sorted(numbers, key=int)


def has_cuda_device() -> bool:
    """Return whether torch will probably find a CUDA device, without importing it."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    with contextlib.suppress(metadata.PackageNotFoundError):
        if metadata.version("torch").endswith("+cpu"):
            return False
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def check_run_devices(config: Config) -> None:
    """Check that every CUDA device that was asked for can exist, before anything starts.

    Workers of a run that listens beyond loopback are on other machines, with their own devices.

    Raises:
        PreflightError: one line with the field and what there is.
    """
    cluster = config.cluster
    if not is_device(cluster.device):
        raise PreflightError(
            f"--cluster.device: got {cluster.device!r}, wanted auto, cpu, cuda or cuda:N"
        )
    roles = DEVICE_ROLES if cluster.bind_host.startswith("127.") else ("learner",)
    for role in roles:
        field = f"{role}_device" if getattr(cluster, f"{role}_device") else "device"
        got = f"--cluster.{field.replace('_', '-')}: got"
        for name in role_devices(cluster, role):
            _check_is_there(name, got)
    wanted, there = config.learner.num_devices, _num_cuda_devices()
    if _takes_all_in_order(config) and there is not None and wanted > there:
        raise PreflightError(
            f"--learner.num-devices: got {wanted}, wanted at most {there}: the machine has no more "
            "CUDA devices"
        )


def device_notes(config: Config, *, has_actors: bool = True) -> list[tuple[str, str]]:
    """Return who runs where, for the launcher's first lines: one line if all share a device.

    Args:
        config: of the run.
        has_actors: whether the run plays.
    """
    cluster = config.cluster
    own = [getattr(cluster, f"{role}_device") for role in DEVICE_ROLES]
    if not any(own) and config.learner.num_devices == 1:
        return [("device", _described(cluster.device, config))]
    rows = _table(config, has_actors=has_actors)
    width = max(len(names) for names, _ in rows)
    return [("device", f"{names:<{width}}  {device}") for names, device in rows]


def _table(config: Config, *, has_actors: bool) -> list[tuple[str, str]]:
    """Return processes and their device, one row for each device of a role."""
    rows: dict[tuple[str, str], list[str]] = {}
    for role, index in places(config, has_actors=has_actors):
        kind = "learner" if role == "rank" else role
        if kind in DEVICE_ROLES:
            row = rows.setdefault((kind, _device_of(config, kind, index)), [])
            row.append(f"{role}-{index}")
    return [(_together(names), device) for (_, device), names in rows.items()]


def _device_of(config: Config, role: str, index: int) -> str:
    if role == "learner" and _takes_all_in_order(config):
        return f"cuda:{index}"
    return _described(role_device(config.cluster, role, index), config)


def _takes_all_in_order(config: Config) -> bool:
    """Return whether the learner's ranks take cuda:0, cuda:1 and so on, none of them named."""
    names = role_devices(config.cluster, "learner")
    is_cuda = names[0].startswith("cuda") or (names[0] == "auto" and has_cuda_device())
    return config.learner.num_devices > 1 and len(names) == 1 and is_cuda


def _described(name: str, config: Config) -> str:
    if name != "auto":
        return name
    if config.cluster.deterministic:
        return "cpu (the run is deterministic)"
    return "cuda (chosen by auto)" if has_cuda_device() else "cpu (no usable CUDA device found)"


def _together(names: Sequence[str]) -> str:
    """Return ``actor-0, actor-1``, or ``actor-0 and 15 more``."""
    shown = 4
    if len(names) <= shown:
        return ", ".join(names)
    return f"{names[0]} and {len(names) - 1} more"


def _check_is_there(name: str, got: str) -> None:
    if not name.startswith("cuda"):
        return
    if not has_cuda_device():
        raise PreflightError(
            f"{got} {name!r}, but the machine or its torch has no CUDA device; use auto"
        )
    there = _num_cuda_devices()
    if there is not None and int(name.partition(":")[2] or 0) >= there:
        raise PreflightError(
            f"{got} {name!r}, but the machine has {there} CUDA device{'s' * (there > 1)}, from "
            "cuda:0 on"
        )


def _num_cuda_devices() -> int | None:
    """Return how many CUDA devices torch will find; None: that cannot be seen from here."""
    return len(visible_gpus()) or None

"""The command that runs one cell, and the part of the machine it may use."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.ablate.check import CheckedCell
from deploy.launching import kwarg_text
from deploy.supervising import CHECKOUT
from efficientzero.config import (
    DEVICE_ROLES,
    Config,
    config_to_dict,
    flatten,
    load_preset,
    role_devices,
)
from efficientzero.runs.name_parts import whole_parts
from efficientzero.runs.naming import environment_part, run_name

_KWARGS = "env.kwargs."
_MAX_RUN_ID_LENGTH = 90
"""The launcher takes 100; the rest is for ``-2`` and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A part of the machine, for one cell at a time."""

    cpus: tuple[int, ...]
    gpus: tuple[str, ...] = ()
    """As CUDA_VISIBLE_DEVICES names them; empty: all there are."""

    def limit(self, config: Config) -> Config:
        """Return ``config`` with no more threads in a process than there are CPUs."""
        most, cluster, search = len(self.cpus), config.cluster, config.search
        threads = min(cluster.threads_per_process, most)
        return dataclasses.replace(
            config,
            cluster=dataclasses.replace(cluster, threads_per_process=threads),
            search=dataclasses.replace(search, num_threads=min(search.num_threads, most)),
        )

    def environment(self, base: Mapping[str, str], config: Config) -> dict[str, str]:
        """Return the environment of a cell that runs here."""
        names = {name for role in DEVICE_ROLES for name in role_devices(config.cluster, role)}
        if not self.gpus or not names <= {"auto", "cuda", "cpu"} or names == {"cpu"}:
            return dict(base)
        return {**base, "CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}


def slots(jobs: int, cpus: Sequence[int], gpus: Sequence[str]) -> list[Slot]:
    """Split CPUs and GPUs between ``jobs`` cells; they share where there are too few."""
    if jobs == 1:
        return [Slot(cpus=tuple(cpus))]
    own_gpus = _split(gpus, jobs) if len(gpus) > 1 else [()] * jobs
    pairs = zip(_split(cpus, jobs), own_gpus, strict=True)
    return [Slot(cpus=own, gpus=devices) for own, devices in pairs]


def launch_command(checked: CheckedCell, *, slot: Slot, run_id: str, runs_dir: Path) -> list[str]:
    """Return the command that starts the cell's run, or goes on with the one that was stopped."""
    command = [sys.executable, str(CHECKOUT / "launch.py"), "--local"]
    config, stopped = slot.limit(checked.cell.config), checked.stopped
    if stopped is not None:
        options = launch_options(config, stopped.config)
        return [*command, "--resume", str(stopped.directory), *options]
    options = launch_options(config, load_preset(config.preset))
    place = ["--run-id", run_id, "--runs-dir", str(runs_dir.resolve())]
    forked = checked.fork.options if checked.fork else []
    return [*command, "--preset", config.preset, *options, *forked, *place]


def launch_options(config: Config, base: Config) -> list[str]:
    """Return the options of launch.py that turn ``base`` into exactly ``config``."""
    values, known = flatten(config_to_dict(config)), flatten(config_to_dict(base))
    changed = {
        key: value
        for key, value in values.items()
        if not key.startswith(_KWARGS) and value != known[key]
    }
    options = [option for key, value in changed.items() for option in _option(key, value)]
    if config.env.kwargs != base.env.kwargs:
        options += ["--env.kwargs", *(kwarg_text(*pair) for pair in config.env.kwargs.items())]
    return options


def choose_run_id(checked: CheckedCell, runs_dir: Path) -> str:
    """Return the name of the cell's run folder: the stopped run's.

    Else a free one: arm and name of the run, cut after a whole value, and a number.
    """
    if checked.stopped is not None:
        return checked.stopped.directory.name
    config = checked.cell.config
    arm = f"{config.tracking.arm}_" if config.tracking.arm else ""
    name = arm + run_name(checked.group, config.seed)
    if len(name) > _MAX_RUN_ID_LENGTH:
        ending = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}_s{config.seed}"
        room = _MAX_RUN_ID_LENGTH - len(ending)
        # Half a value would be read as another value.
        beginning = whole_parts(arm + checked.group, room)
        name = (beginning or (arm + environment_part(config.env.id))[:room]) + ending
    name = name.lstrip("._=+-") or "run"
    chosen, number = name, 1
    while (runs_dir / chosen).exists():
        number += 1
        chosen = f"{name}-{number}"
    return chosen


def _option(key: str, value: Any) -> list[str]:  # noqa: ANN401  any value of a config
    part, _, leaf = key.replace("_", "-").rpartition(".")
    prefix = f"--{part}." if part else "--"
    if isinstance(value, bool):
        return [f"{prefix}{leaf}" if value else f"{prefix}no-{leaf}"]
    if isinstance(value, tuple):
        return [f"{prefix}{leaf}", *(v if isinstance(v, str) else repr(v) for v in value)]
    return [f"{prefix}{leaf}={value}"]


def _split(things: Sequence[Any], parts: int) -> list[tuple[Any, ...]]:
    """Return ``parts`` shares of nearly equal size; single things in turn where there are fewer."""
    if len(things) < parts:
        return [(things[i % len(things)],) for i in range(parts)]
    ends = [len(things) * i // parts for i in range(parts + 1)]
    return [tuple(things[ends[i] : ends[i + 1]]) for i in range(parts)]

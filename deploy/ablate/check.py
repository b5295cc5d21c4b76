"""Every cell is resolved, validated and named before the first one starts.

Also finds which cells need no run: those that have finished, and those that are the same
experiment as an earlier one; and which go on from where they were stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.ablate.grid import Cell
from deploy.checks import (
    MAX_MEMORY_SHARE,
    Fork,
    PreflightError,
    available_memory_bytes,
    check_run_devices,
    replay_memory,
    size,
)
from deploy.launching import check_config
from efficientzero.config import Config, ConfigError, config_hash
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import EnvSpec

log = logging.getLogger(__name__)

_KILLED = 128 + signal.SIGKILL
"""Stands for a run that left no summary."""
_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGHUP, _KILLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCell:
    """A cell that can be run."""

    cell: Cell
    group: str
    spec: EnvSpec
    finished: Path | None
    """The run folder of a finished run of this very experiment and seed."""
    stopped: RunInfo | None = None
    """Such a run that was stopped, or killed, after it had saved."""
    fork: Fork | None = None
    """What the run takes from another one."""

    @property
    def identity(self) -> Identity:
        """What distinguishes it from other experiments."""
        return _identity(self.cell.config, self.fork)


@dataclass(frozen=True, slots=True)
class Identity:
    """Equal for two runs of the same experiment and seed, whatever their groups are called.

    A long group depends on what the grid varies, and on the version that named it.
    """

    seed: int
    config_hash: str
    num_actors: int
    num_reanalyzers: int
    group_suffix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedGrid:
    """The cells of a grid, each experiment once."""

    cells: tuple[CheckedCell, ...]
    same: Mapping[int, int]
    """Index of a cell that was left out -> that of the cell that is the same experiment."""


def _identity(config: Config, fork: Fork | None) -> Identity:
    return Identity(
        config.seed,
        config_hash(config, fork.lineage.values if fork else {}),
        config.cluster.num_actors,
        config.cluster.num_reanalyzers,
        config.tracking.group_suffix,
    )


def _unnamed(config: Config) -> Config:
    """Return the config without the arm's name, of which one experiment may have several."""
    return dataclasses.replace(config, tracking=dataclasses.replace(config.tracking, arm=""))


def check_cells(cells: Sequence[Cell], runs_dir: Path, fork: Fork | None = None) -> CheckedGrid:
    """Validate all cells and look for finished ones.

    Args:
        cells: of the grid.
        runs_dir: where finished ones may lie.
        fork: what all cells take from another run.

    Raises:
        ConfigError: a cell that cannot run, or two that would be recorded as one experiment
            though their configs differ.
    """
    finished, stopped = finished_runs(runs_dir), stopped_runs(runs_dir)
    checked: dict[Identity, CheckedCell] = {}
    same: dict[int, int] = {}
    for cell in cells:
        try:
            check_run_devices(cell.config)
            config, spec, group = check_config(cell.config, fork)
        except PreflightError as error:
            raise ConfigError(f"cell {cell.index} ({cell.label}): {error}") from error
        cell = dataclasses.replace(cell, config=config)  # noqa: PLW2901  as it will run
        identity = _identity(config, fork)
        before = checked.get(identity)
        if before is None:
            checked[identity] = CheckedCell(
                cell=cell,
                group=group,
                spec=spec,
                finished=finished.get(identity),
                stopped=stopped.get(identity),
                fork=fork,
            )
        elif _unnamed(before.cell.config) == _unnamed(cell.config):
            same[cell.index] = before.cell.index
        else:
            raise ConfigError(
                f"cells {before.cell.index} ({before.cell.label}) and {cell.index} ({cell.label}) "
                "differ only in what cannot change results; run them one after the other, each "
                "with its own --group-suffix"
            )
    return CheckedGrid(cells=tuple(checked.values()), same=same)


def check_jobs_memory(cells: Iterable[CheckedCell], jobs: int) -> None:
    """Check that the replays of cells that may run side by side fit into memory.

    Raises:
        ConfigError: they do not.
    """
    needs = sorted((replay_memory(c.cell.config, c.spec).total for c in cells), reverse=True)
    needed, available = sum(needs[:jobs]), available_memory_bytes()
    if needed > MAX_MEMORY_SHARE * available:
        raise ConfigError(
            f"--jobs: got {jobs}, whose full replays take {size(needed)} of the {size(available)} "
            "available; lower it, or --replay.capacity"
        )


def finished_runs(runs_dir: Path) -> dict[Identity, Path]:
    """Return the runs in ``runs_dir`` that ended at their budget."""
    found = {}
    for path in sorted(runs_dir.glob("*/summary.json")):
        if read_summary(path.parent).get("exit_code") == 0:
            with contextlib.suppress(ValueError):  # no run, or written by another version
                found[identity_of(RunInfo.load(path.parent / "config.json"))] = path.parent
    return found


def stopped_runs(runs_dir: Path) -> dict[Identity, RunInfo]:
    """Return the runs in ``runs_dir`` that can go on: of each experiment the last one started.

    Not those that failed, which would fail again.
    """
    found = {}
    paths = runs_dir.glob("*/config.json")
    from efficientzero.runs.checkpoint import list_checkpoints  # noqa: PLC0415  imports torch

    for path in sorted(paths, key=lambda path: path.stat().st_mtime):
        code = read_summary(path.parent).get("exit_code", _KILLED)
        with contextlib.suppress(OSError, ValueError):  # another user's, or another version's
            if code in _STOPPED and list_checkpoints(path.parent / "checkpoints"):
                run = RunInfo.load(path)
                found[identity_of(run)] = run
    return found


def identity_of(run: RunInfo) -> Identity:
    """Return what distinguishes a recorded run from other experiments."""
    return dataclasses.replace(_identity(run.config, None), config_hash=run.config_hash)


def read_summary(run_dir: Path) -> dict[str, Any]:
    """Return a run's summary, or nothing if there is none.

    One that cannot be read is said, and has no exit code: neither finished nor killed.
    """
    path = run_dir / "summary.json"
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except (OSError, TypeError, ValueError) as error:
        log.warning("%s: not readable: %s: %s", path, type(error).__name__, error)
        return {"exit_code": None}

"""From a configuration to a run that can be started: checks, addresses, names, the run folder.

Called by ``launch.py``. After it, ``config.json`` is on disk and no process has been started.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import secrets
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from deploy.fork import Fork, place_fork
from deploy.fork_checks import check_fork, check_frozen
from deploy.memory import check_memory
from deploy.preflight import (
    PreflightError,
    addresses,
    check_device,
    check_installation,
    check_run_id,
    check_runs_dir,
    describe_device,
    one_line,
    reason,
)
from deploy.summary import EVALUATIONS_FILE, software_versions
from efficientzero.compat import COMPAT_GROUPS
from efficientzero.config import Config, EnvConfig
from efficientzero.config_checks import validate
from efficientzero.config_files import (
    PRESETS,
    experiment_values,
    hyperparameters,
    load_preset,
)
from efficientzero.envs import probe_env_spec
from efficientzero.image_sizes import with_downsample
from efficientzero.lineage import Lineage
from efficientzero.metrics.tracker import ModeDecision, resolve_mode
from efficientzero.naming import group_name
from efficientzero.run_folder import RunInfo, read_lines
from efficientzero.schema import EnvSpec

_FROZEN_BUDGET = ("budget.env_steps", "budget.warmup_env_steps")
"""Fields that the frozen replay decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run whose folder has been written, and what the person should be told."""

    run: RunInfo
    notes: list[tuple[str, str]]


def prepare(
    config: Config,
    *,
    run_id: str,
    runs_dir: Path,
    checkout: Path,
    now: datetime,
    fork: Fork | None = None,
) -> Prepared:
    """Check everything, then write the run folder with its ``config.json``.

    Args:
        config: resolved, not yet validated.
        run_id: name of the run folder; empty: made of environment, preset, seed and ``now``.
        runs_dir: where run folders lie; created if missing.
        checkout: the repository's root.
        now: local time of the launch.
        fork: what the run takes from another one.

    Raises:
        PreflightError: the run cannot start.
    """
    check_installation()
    config, spec, group = check_config(config, fork)
    tracking = _tracking_mode(config)
    check_device(config.cluster)
    replay_addresses, learner_address = addresses(config)
    memory = check_memory(config, spec)
    name = run_id or default_run_id(config, now)
    check_run_id(name)
    check_runs_dir(runs_dir)
    folder = create_run_folder(runs_dir, name, is_given=bool(run_id))
    run = RunInfo(
        run_id=folder.name,
        run_uid=secrets.token_hex(4),
        group=group,
        directory=folder,
        config=config,
        env_spec=spec,
        replay_address=replay_addresses[0],
        more_replay_addresses=tuple(replay_addresses[1:]),
        learner_address=learner_address,
        tracking_mode=tracking.mode,
        versions=software_versions(checkout),
        lineage=fork.lineage if fork else None,
    )
    if fork is not None:
        _take(fork, folder)
    _write(run)
    frames = f"frames {spec.frame_shape} {spec.frame_dtype}, {spec.num_actions} actions"
    notes = [
        ("run", run.run_id),
        ("group", f"{group}  (config {run.config_hash})"),
        ("env", f"{spec.env_id}: {frames}"),
        ("device", describe_device(config.cluster)),
        ("memory", memory),
        ("addresses", f"replay {', '.join(replay_addresses)}, learner {run.learner_address}"),
        ("logs", str(folder / "logs")),
        ("wandb", f"{tracking.mode} ({tracking.reason})"),
    ]
    if run.lineage is not None:
        notes.insert(2, ("lineage", run.lineage.description))
    if config.cluster.deterministic:
        notes.append(
            (
                "order",
                "deterministic: actor, reanalyzer and learner take turns, so only one works at a "
                "time; no process is started again",
            )
        )
    return Prepared(run=run, notes=notes)


def prepare_resume(run: RunInfo, config: Config) -> Prepared:
    """Check that ``run`` can go on, and write its ``config.json`` with new addresses.

    Args:
        run: as its folder has it.
        config: the run's, with other processes or logging perhaps.

    Raises:
        PreflightError: the run is complete, still running, or asked to change what it learns.
    """
    check_installation()
    if run.config.cluster.deterministic:
        raise PreflightError(
            "--resume: a deterministic run cannot be resumed; start it anew: its seed gives the "
            "same weights"
        )
    check_same_experiment(run.config, config, "--resume")
    if run.lineage is not None and run.lineage.is_frozen:
        check_frozen(config, run.lineage.env_steps)
    if is_complete(run):
        raise PreflightError(f"--resume: {run.run_id} is complete; its results: {run.directory}")
    spec = check_config(config).spec  # the run keeps its network
    tracking = _tracking_mode(config)
    check_device(config.cluster)
    replay_addresses, learner_address = addresses(config)
    memory = check_memory(config, spec)
    resumed = dataclasses.replace(
        run,
        config=config,
        num_resumes=run.num_resumes + 1,
        replay_address=replay_addresses[0],
        more_replay_addresses=tuple(replay_addresses[1:]),
        learner_address=learner_address,
        tracking_mode=tracking.mode,
    )
    try:
        resumed.save()
    except OSError as error:
        raise PreflightError(f"--resume: {run.config_path}: {reason(error)}") from error
    from efficientzero.checkpoint import list_checkpoints  # noqa: PLC0415  imports torch

    saved = list_checkpoints(run.directory / "checkpoints")
    newest = saved[-1].name if saved else "none yet: training starts from the beginning"
    notes = [
        ("resume", f"{run.run_id}, for the {resumed.num_resumes}. time; checkpoint {newest}"),
        ("group", f"{run.group}  (config {run.config_hash})"),
        ("device", describe_device(config.cluster)),
        ("memory", memory),
        ("addresses", f"replay {', '.join(replay_addresses)}, learner {learner_address}"),
        ("wandb", f"{tracking.mode} ({tracking.reason})"),
    ]
    return Prepared(run=resumed, notes=notes)


def is_complete(run: RunInfo) -> bool:
    """Tell whether the final evaluation was made."""
    return any(line.get("is_final") for line in read_lines(run.directory / EVALUATIONS_FILE))


def check_same_experiment(before: Config, now: Config, option: str) -> None:
    """Check that a run goes on as it began.

    Args:
        before: as the run folder has it.
        now: as asked for.
        option: what asked for the run, for the message.

    Raises:
        PreflightError: a value differs that could change what is learned.
    """
    fixed = {**hyperparameters(before), "seed": before.seed, "preset": before.preset}
    wanted = {**hyperparameters(now), "seed": now.seed, "preset": now.preset}
    for key, value in fixed.items():
        if wanted[key] != value:
            raise PreflightError(
                f"--{key}: got {wanted[key]}, but the run was started with {value}; going on "
                f"({option}) it may only change cluster and tracking options"
            )


def default_run_id(config: Config, now: datetime) -> str:
    """Return ``<env>-<preset>-s<seed>-<time>``."""
    env = re.sub(r"[^A-Za-z0-9.]+", "-", config.env.id).strip("-.")
    return f"{env}-{config.preset}-s{config.seed}-{now:%Y%m%d-%H%M%S}"


def create_run_folder(runs_dir: Path, name: str, *, is_given: bool) -> Path:
    """Create the run folder and return its absolute path.

    Args:
        runs_dir: where it shall lie.
        name: its name.
        is_given: a person chose the name, so it must be free; else a number is appended.

    Raises:
        PreflightError: a given name is taken, or the disk refuses.
    """
    folder, number = runs_dir.resolve() / name, 1
    try:
        while not _make_or_take(folder):
            if is_given:
                raise PreflightError(
                    f"--run-id: {folder} exists already; choose another name or remove it"
                )
            number += 1
            folder = folder.with_name(f"{name}-{number}")
    except OSError as error:
        raise PreflightError(f"--runs-dir: cannot create {folder} ({reason(error)})") from error
    return folder


def _make_or_take(folder: Path) -> bool:
    """Create a folder; return False if it is there already and is not an empty folder."""
    try:
        folder.mkdir()
    except FileExistsError:
        return folder.is_dir() and not any(folder.iterdir())
    return True


class Checked(NamedTuple):
    """A config that can be run."""

    config: Config
    """With what the environment decides: ``network.downsample``, where 0 would be costly."""
    spec: EnvSpec
    group: str


def check_config(config: Config, fork: Fork | None = None) -> Checked:
    """Return the config to run, the environment's shape and the group's name, or say what is wrong.

    Args:
        config: resolved.
        fork: what the run takes from another one.

    Raises:
        PreflightError: one line.
    """
    try:
        validate(config, None)
        spec = _env_spec(config.env)
        validate(config, spec)
        # The network of a parent that has no number is kept, with its weights or without.
        if fork is None or fork.parent.config.network.downsample:
            config = with_downsample(config, spec)
        if fork is not None:
            check_fork(fork, config, spec)
        return Checked(config, spec, run_group(config, fork.lineage if fork else None))
    except ValueError as error:
        raise PreflightError(one_line(error)) from error


def run_group(config: Config, lineage: Lineage | None = None) -> str:
    """Name the wandb group: environment, nearest preset, and what differs from that.

    What a run began with is told by its content: runs forked from the same snapshot share it.

    Raises:
        ValueError: a suffix that is too long.
    """
    values, suffix = experiment_values(config), config.tracking.group_suffix
    if lineage is not None:
        implied = _FROZEN_BUDGET if lineage.is_frozen else ()
        values = {key: value for key, value in values.items() if key not in implied}
        values |= lineage.values
    bundles = {
        f"compat={name}": {
            f"compat.{key}": value for key, value in dataclasses.asdict(group).items()
        }
        for name, group in COMPAT_GROUPS.items()
    }
    return group_name(config.env.id, values, _preset_values(), suffix, bundles)


@functools.cache
def _env_spec(env: EnvConfig) -> EnvSpec:
    """Probe once: a grid has many cells of one environment."""
    return probe_env_spec(env)


@functools.cache
def _preset_values() -> dict[str, dict[str, Any]]:
    return {name: experiment_values(load_preset(name)) for name in PRESETS}


def _tracking_mode(config: Config) -> ModeDecision:
    try:
        return resolve_mode(config.tracking.mode)
    except ValueError as error:
        raise PreflightError(one_line(error)) from error


def _take(fork: Fork, folder: Path) -> None:
    try:
        place_fork(fork, folder)
    except PreflightError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write(run: RunInfo) -> None:
    try:
        run.save()
        (run.directory / "logs").mkdir()
    except OSError as error:
        shutil.rmtree(run.directory, ignore_errors=True)
        raise PreflightError(
            f"--runs-dir: cannot write the run folder {run.directory} ({reason(error)}); "
            "free some space or choose another folder"
        ) from error

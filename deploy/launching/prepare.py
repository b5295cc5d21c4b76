"""From a configuration to a run that can be started: checks, addresses, names, the run folder.

Called by ``launch.py``. After it, ``config.json`` is on disk and no process has been started.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deploy.checks import (
    Fork,
    PreflightError,
    addresses,
    addresses_text,
    check_frozen,
    check_installation,
    check_memory,
    check_run_devices,
    check_run_name,
    check_runs_dir,
    device_notes,
    env_facts,
    env_notes,
    one_line,
    place_fork,
    reason,
    search_notes,
)
from deploy.checks.leftovers import end_earlier_launch
from deploy.launching.config_checks import check_config, check_same_experiment
from deploy.launching.run_lock import NewRunFolder, new_run_folder
from deploy.launching.tokens import forget_local_credentials
from deploy.results import budget_text, software_versions
from efficientzero.config import Config
from efficientzero.metrics import ModeDecision, check_environment, resolve_mode
from efficientzero.process.disk_space import RESERVE_FILE, SMALL_FILES, Reserve
from efficientzero.rpc.place_proofs import forget_secret
from efficientzero.runs.lease import LEASE_FOLDER, Fenced, Lease, take_over
from efficientzero.runs.lineage import PARENT_CHECKPOINT
from efficientzero.runs.results.run_summary import EVALUATIONS_FILE
from efficientzero.runs.run_folder import CONFIG_FILE, RunInfo, read_lines

LOG_FOLDER, REPLAY_FOLDER = "logs", "replay-0"
_MAX_ENV_LENGTH = 50
"""Of an environment's name in a run's: the other parts need the rest of its 100 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run whose folder has been written, and the notes to print."""

    run: RunInfo
    notes: list[tuple[str, str]]
    lock: ExitStack
    """Lets go of a new run's folder; of one that goes on the caller holds the lock."""
    lease: Lease
    """The launcher's, under which it writes the run's summary."""


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
    name = run_id or default_run_id(config, now)
    check_run_name(name)
    config, spec, group = check_config(config, fork)
    tracking = _tracking_mode(config)
    check_run_devices(config)
    replay_address, learner_address = addresses(config)
    memory = check_memory(config, spec)
    check_runs_dir(runs_dir)
    versions = software_versions(checkout)
    folder = new_run_folder(runs_dir, name, is_given=bool(run_id))
    run = RunInfo(
        run_id=folder.path.name,
        run_uid=_new_uid(),
        group=group,
        directory=folder.path,
        config=config,
        env_spec=spec,
        replay_address=replay_address,
        learner_address=learner_address,
        tracking_mode=tracking.mode,
        versions=versions,
        lineage=fork.lineage if fork else None,
    )
    lease = _fill(run, fork, folder)
    notes = [
        ("run", run.run_id),
        ("group", f"{group}  (config {run.config_hash})"),
        *_env_notes(config),
        ("budget", budget_text(config.budget)),
        *device_notes(config, has_actors=not (fork and fork.lineage.is_frozen)),
        *search_notes(config),
        ("memory", memory),
        ("addresses", addresses_text(config.cluster, replay_address, learner_address)),
        ("logs", str(folder.path / LOG_FOLDER)),
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
    if folder.note:
        notes.append(("lock", folder.note))
    return Prepared(run=run, notes=notes, lock=folder.lock, lease=lease)


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
            "--resume: a deterministic run cannot be resumed; start it again: its seed gives the "
            "same weights"
        )
    check_same_experiment(run.config, config, "--resume")
    if run.lineage is not None and run.lineage.is_frozen:
        check_frozen(config, run.lineage.env_steps)
    if is_complete(run):
        raise PreflightError(f"--resume: {run.run_id} is complete; its results: {run.directory}")
    # The run keeps its network, whatever its images would choose today.
    spec = check_config(config, suffix_before=run.config.tracking.group_suffix).spec
    if not run.env_spec.has_legal_actions:  # started by a version that did not read masks
        spec = dataclasses.replace(spec, has_legal_actions=False)
    if spec != run.env_spec:
        now, before = spec.differences(run.env_spec)
        raise PreflightError(
            f"env.id={config.env.id}: it has {now} now, but the run was started with {before}"
        )
    tracking = _tracking_mode(config)
    check_run_devices(config)
    end_earlier_launch(run.directory)  # before the addresses, which it may hold
    replay_address, learner_address = addresses(config)
    memory = check_memory(config, spec)
    was_at = run.moved_from()
    resumed = dataclasses.replace(
        run,
        run_uid=run.run_uid if was_at is None else _new_uid(),
        config=config,
        num_resumes=run.num_resumes + 1,
        replay_address=replay_address,
        learner_address=learner_address,
        tracking_mode=tracking.mode,
    )
    from efficientzero.runs.checkpoint import list_checkpoints  # noqa: PLC0415  imports torch

    try:
        # From here on nothing of an earlier launch writes, on whatever host it may be.
        lease = take_over(run.directory, launch=resumed.num_resumes)
        if was_at is not None:
            forget_local_credentials(run.directory)
            forget_secret(run.directory)
        saved = list_checkpoints(run.directory / "checkpoints")
        resumed.save()
        Reserve(run.directory).keep(SMALL_FILES)  # as in a new run's folder
    except Fenced as error:
        raise PreflightError(f"--resume: {error}") from error
    except OSError as error:
        what = error.filename or run.config_path
        raise PreflightError(f"--resume: {what}: {reason(error)}") from error
    newest = saved[-1].name if saved else "none yet: training starts from the beginning"
    notes = [
        ("resume", f"{run.run_id}, for the {resumed.num_resumes}. time; checkpoint {newest}"),
        ("group", f"{run.group}  (config {run.config_hash})"),
        ("budget", budget_text(config.budget)),
        *_env_notes(config),
        *device_notes(config, has_actors=not (run.lineage and run.lineage.is_frozen)),
        *search_notes(config),
        ("memory", memory),
        ("addresses", addresses_text(config.cluster, replay_address, learner_address)),
        ("wandb", f"{tracking.mode} ({tracking.reason})"),
    ]
    if was_at is not None:
        what = f"the folder was {was_at} when it last ran: from here on it is a separate run"
        notes.insert(1, ("identity", f"{what}, with new wandb runs and tokens ({resumed.run_uid})"))
    return Prepared(run=resumed, notes=notes, lock=ExitStack(), lease=lease)


def _new_uid() -> str:
    return secrets.token_hex(4)


def is_complete(run: RunInfo) -> bool:
    """Return whether the final evaluation was made."""
    return any(line.get("is_final") for line in read_lines(run.directory / EVALUATIONS_FILE))


def default_run_id(config: Config, now: datetime) -> str:
    """Return ``<env>-<preset>-s<seed>-<time>``."""
    env = re.sub(r"[^A-Za-z0-9.]+", "-", config.env.id).strip("-.")[:_MAX_ENV_LENGTH] or "run"
    return f"{env}-{config.preset}-s{config.seed}-{now:%Y%m%d-%H%M%S}"


def _env_notes(config: Config) -> list[tuple[str, str]]:
    """Return the notes on an environment that has been tried."""
    facts = env_facts(config.env, limit_s=config.cluster.env_check_seconds)
    return env_notes(config, facts)


def _tracking_mode(config: Config) -> ModeDecision:
    try:
        decision = resolve_mode(config.tracking.mode)
        if decision.mode != "disabled":
            check_environment()
        return decision
    except ValueError as error:
        raise PreflightError(one_line(error)) from error


def _fill(run: RunInfo, fork: Fork | None, folder: NewRunFolder) -> Lease:
    """Write what a new run's folder begins with; what was written is removed where that fails."""
    made = (CONFIG_FILE, LOG_FOLDER, REPLAY_FOLDER, PARENT_CHECKPOINT, LEASE_FOLDER, RESERVE_FILE)
    try:
        if fork is not None:
            place_fork(fork, run.directory)
        (run.directory / LOG_FOLDER).mkdir()
        lease = take_over(run.directory, launch=run.num_resumes)
        run.save()
        # So that there is a summary even if the disk fills up before the first checkpoint.
        Reserve(run.directory).keep(SMALL_FILES)
    except PreflightError:
        folder.give_up(*made)
        raise
    except OSError as error:
        folder.give_up(*made)
        raise PreflightError(
            f"--runs-dir: cannot write the run folder {run.directory} ({reason(error)}); "
            "free some space or choose another folder"
        ) from error
    except BaseException:  # Ctrl-C
        folder.give_up(*made)
        raise
    return lease

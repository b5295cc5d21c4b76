"""A run that begins with another run's replay: found, checked and linked before a process starts.

``--fork-from`` goes on playing, ``--frozen-replay`` trains without actors; both may take weights.
The other run's folder is only read. Its snapshot is never written to once it is complete, so the
new run's folder holds hard links to the same files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.checks.preflight import PreflightError, reason
from efficientzero.config import Config, ConfigError
from efficientzero.runs.lineage import PARENT_CHECKPOINT, Lineage
from efficientzero.runs.run_folder import RunInfo
from replay.snapshots import (
    FILES,
    STREAMS,
    SnapshotFacts,
    file_sha256,
    in_order,
    link_or_copy,
    read_snapshot,
    reverbs_name,
)

FORKS = ("--fork-from", "--frozen-replay")
"""Options that name another run."""

_DIGEST_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """What a new run takes from another one."""

    option: str
    """As the person gave it, for messages."""
    parent: RunInfo
    snapshot: Path
    facts: SnapshotFacts
    is_frozen: bool
    checkpoint: Path | None = None
    """Whose weights are taken; None: none."""
    train_step: int | None = None
    """Of that checkpoint."""
    weights_digest: str = ""
    auxiliary_heads: frozenset[str] = frozenset()
    """Of that checkpoint's network."""

    @property
    def options(self) -> list[str]:
        """The options of launch.py that name exactly this, whatever the other run does next."""
        return [
            self.option,
            str(self.snapshot),
            *["--fork-weights"] * (self.checkpoint is not None),
        ]

    @property
    def lineage(self) -> Lineage:
        """What the new run's ``config.json`` says of it."""
        return Lineage(
            parent=self.parent.run_id,
            parent_uid=self.parent.run_uid,
            parent_group=self.parent.group,
            snapshot=self.snapshot.name,
            replay_digest=self.facts.digest,
            env_steps=self.facts.steps_inserted,
            is_frozen=self.is_frozen,
            train_step=self.train_step,
            weights_digest=self.weights_digest,
        )

    def base(self, preset: Config | None) -> Config:
        """Return the config that the command line changes: the parent's, or ``preset``.

        A frozen run's env_steps are those of its replay.
        """
        base = preset or self.parent.config
        if not self.is_frozen:
            return base
        return dataclasses.replace(
            base,
            budget=dataclasses.replace(
                base.budget, env_steps=self.facts.steps_inserted, warmup_env_steps=0
            ),
            cluster=dataclasses.replace(base.cluster, num_actors=1),
        )


def fork_named(value_of: Callable[[str], str | None]) -> Fork | None:
    """Return what a command line's --fork-from or --frozen-replay names, or None.

    Args:
        value_of: returns the value of an option; None if it is not there.

    Raises:
        ConfigError: one line: options that exclude each other, or nothing to take.
    """
    names = ("--resume", *FORKS)
    given = {name: value for name in names if (value := value_of(name)) is not None}
    takes_weights = value_of("--fork-weights") is not None
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)}: got {len(given)} of them, wanted one")
    name, value = next(iter(given.items()), ("", ""))
    if name in FORKS:
        return find_fork(
            Path(value), is_frozen=name == "--frozen-replay", takes_weights=takes_weights
        )
    if takes_weights:
        raise ConfigError(f"--fork-weights: wanted {' or '.join(FORKS)} with it")
    return None


def find_fork(path: Path, *, is_frozen: bool, takes_weights: bool) -> Fork:
    """Read the run folder, or the snapshot in one, that ``path`` names.

    Without a snapshot's own name the newest whole one is taken; with weights, the newest one that
    a checkpoint belongs to.

    Raises:
        ConfigError: one line: there is no such thing, it is damaged, or it may not be read.
    """
    option = "--frozen-replay" if is_frozen else "--fork-from"
    try:
        return _find_fork(option, path.resolve(), is_frozen=is_frozen, takes_weights=takes_weights)
    except OSError as error:
        where = error.filename or path
        raise ConfigError(f"{option}: {where} cannot be read ({reason(error)})") from error


def _find_fork(option: str, path: Path, *, is_frozen: bool, takes_weights: bool) -> Fork:
    is_snapshot = (path / STREAMS[0]).exists()
    folder = path / ".." / ".." / ".." if is_snapshot else path
    folder = folder.resolve()
    try:
        parent = RunInfo.load(folder / "config.json")
    except ValueError as error:
        raise ConfigError(f"{option}: wanted a run's folder or a snapshot in it: {error}") from None
    snapshots = [path] if is_snapshot else _snapshots(folder)
    if not snapshots:
        raise ConfigError(
            f"{option}: {folder} holds no snapshot of replay. Every run records its own: with each "
            "checkpoint (learner.checkpoint_interval), and all of it at its end; a deterministic "
            "one does not"
        )
    if takes_weights:
        return _with_weights(option, parent, snapshots, is_frozen=is_frozen)
    damage = ""
    for snapshot in reversed(snapshots):
        try:
            facts = read_snapshot(snapshot)
        except (OSError, ValueError) as error:
            damage = damage or str(error)
            continue
        return Fork(
            option=option, parent=parent, snapshot=snapshot, facts=facts, is_frozen=is_frozen
        )
    raise ConfigError(f"{option}: wanted a whole snapshot of replay: {damage}")


def _snapshots(folder: Path) -> list[Path]:
    """Return a run's snapshots, oldest first; of two links to one, that which stays longer."""
    live, kept = (
        [path for path in _entries(folder / "replay-0" / place) if (path / STREAMS[0]).exists()]
        for place in ("live", "kept")
    )
    names = {reverbs_name(path) for path in kept}
    return [*in_order(kept), *sorted(path for path in live if path.name not in names)]


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, but for hidden files; nothing if there is no such folder."""
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return []


def _with_weights(option: str, parent: RunInfo, snapshots: list[Path], *, is_frozen: bool) -> Fork:
    from efficientzero.networks import training_only  # noqa: PLC0415
    from efficientzero.runs.checkpoint import list_checkpoints, load_checkpoint  # noqa: PLC0415  imports torch, 2 s: not for --help

    by_name = {reverbs_name(snapshot): snapshot for snapshot in snapshots}
    belonging, damage = [], ""
    for checkpoint in reversed(list_checkpoints(parent.directory / "checkpoints")):
        try:
            state = load_checkpoint(checkpoint)
            belonging.append(state.get("replay_snapshot", ""))
            snapshot = by_name.get(belonging[-1])
            if snapshot is None:
                continue  # of another one
            facts = read_snapshot(snapshot)
            digest = file_sha256(checkpoint)
        except (OSError, ValueError) as error:
            damage = damage or f"; {error}"
            continue
        return Fork(
            option=option,
            parent=parent,
            snapshot=snapshot,
            facts=facts,
            is_frozen=is_frozen,
            checkpoint=checkpoint,
            train_step=state["train_step"],
            weights_digest=digest[:_DIGEST_LENGTH],
            auxiliary_heads=frozenset(k.split(".")[0] for k in training_only(state["network"])),
        )
    others = ", ".join(filter(None, belonging)) or "none"
    raise ConfigError(
        f"--fork-weights: no whole checkpoint in {parent.directory / 'checkpoints'} belongs to "
        f"{' or '.join(by_name)}; those there belong to {others}{damage}"
    )


def place_fork(fork: Fork, folder: Path) -> None:
    """Link what the fork brings into the new run's folder.

    Raises:
        PreflightError: the disk refuses, or the other run has just replaced its snapshot.
    """
    # Without a number: older than every snapshot that the run writes itself.
    target = folder / "replay-0" / "kept" / f"0-{fork.snapshot.name}"
    try:
        target.mkdir(parents=True)
        for name in FILES:
            link_or_copy(fork.snapshot / name, target / name)
        if fork.checkpoint is not None:
            link_or_copy(fork.checkpoint, folder / PARENT_CHECKPOINT)
    except OSError as error:
        raise PreflightError(
            f"{fork.option}: cannot take {fork.snapshot} ({reason(error)})"
        ) from error

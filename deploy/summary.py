"""What remains of a run: ``summary.json`` and the last lines on the terminal.

Called by the launcher when every process has ended. Reads the run's evaluations and the last
status; knows no process.
"""

from __future__ import annotations

import dataclasses
import platform
import subprocess
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any

from deploy.display import format_duration
from deploy.fairness import Stamp, make_stamp, stamp_line
from deploy.local import Outcome
from deploy.on_disk import files_row, unsaved_rows, wandb_rows
from efficientzero.rpc import run_pb2
from efficientzero.run_folder import RunInfo, read_lines, write_json

EVALUATIONS_FILE = "evaluations.jsonl"

_PACKAGES = {
    "torch": "torch",
    "reverb": "dm-reverb",
    "gymnasium": "gymnasium",
    "ale-py": "ale-py",
    "minatar": "MinAtar",
    "wandb": "wandb",
    "numpy": "numpy",
    "efficientzero": "efficientzero-distributed",
}


def summarize(
    run: RunInfo, outcome: Outcome, *, status: run_pb2.RunStatus | None, wall_s: float
) -> dict[str, Any]:
    """Return the summary: the result, what it cost, and what it takes to repeat it."""
    evaluations = read_lines(run.directory / EVALUATIONS_FILE)
    final = [evaluation for evaluation in evaluations if evaluation.get("is_final")]
    best_known = (final or evaluations or [{}])[-1]
    status = status or run_pb2.RunStatus()
    # An evaluation's line may be newer than the last status that was read.
    env_steps = max(status.env_steps, best_known.get("env_steps", 0))
    stamp = make_stamp(run.directory, run.config, env_steps=env_steps)
    return {
        "run_id": run.run_id,
        "group": run.group,
        "env_id": run.env_spec.env_id,
        "preset": run.config.preset,
        "seed": run.config.seed,
        "eval_return_mean": best_known.get("return_mean"),
        "eval_returns": best_known.get("returns", []),
        "eval_is_final": bool(final),
        "eval_weights_version": best_known.get("weights_version"),
        "env_steps": env_steps,
        "train_steps": max(status.train_steps, best_known.get("train_steps", 0)),
        "env_steps_lost": _env_steps_lost(status),
        "episodes": status.episodes,
        "wall_s": round(wall_s, 1),
        "fairness": stamp and dataclasses.asdict(stamp),
        "config_hash": run.config_hash,
        "weights_sha256": newest_weights_sha256(run.directory / "checkpoints"),
        "versions": run.versions,
        "lineage": run.lineage and dataclasses.asdict(run.lineage),
        "exit_reason": outcome.reason,
        "exit_code": outcome.exit_code,
    }


def newest_weights_sha256(folder: Path) -> str | None:
    """Return the digest of the newest checkpoint's weights, None where there is none to read."""
    from efficientzero import checkpoint  # noqa: PLC0415  imports torch, 2 s: not for --help

    saved = checkpoint.list_checkpoints(folder)
    try:
        return checkpoint.weights_sha256(checkpoint.load_checkpoint(saved[-1])["network"])
    except (IndexError, ValueError):
        return None


def save_summary(run: RunInfo, summary: dict[str, Any]) -> Path:
    """Write ``summary.json`` atomically and return its path.

    Raises:
        OSError: the disk does not take it.
    """
    path = run.directory / "summary.json"
    write_json(path, summary)
    return path


def summary_lines(
    run: RunInfo,
    summary: dict[str, Any],
    *,
    expected: Collection[str] = (),
    wandb_before: Collection[str] = (),
) -> list[str]:
    """Return the summary for a person.

    Args:
        run: which one.
        summary: of ``summarize``.
        expected: see ``wandb_rows``.
        wandb_before: see ``wandb_rows``.
    """
    mean = summary["eval_return_mean"]
    kind = "final evaluation" if summary["eval_is_final"] else "newest evaluation"
    episodes = len(summary["eval_returns"])
    result = "none" if mean is None else f"{mean:.4g} (mean of {episodes} episodes, {kind})"
    rows = [
        ("run", f"{run.run_id}: {summary['exit_reason']}, exit code {summary['exit_code']}"),
        *_lineage_row(run),
        ("return", result),
        ("steps", _steps(summary)),
        ("weights", f"sha256 {summary['weights_sha256'] or 'none saved'}"),
        *unsaved_rows(run, summary),
        ("wall time", format_duration(summary["wall_s"])),
        ("fairness", stamp_line(summary["fairness"] and Stamp(**summary["fairness"]))),
        files_row(run),
        *wandb_rows(run, expected, wandb_before),
    ]
    return [f"{name:<10} {value}" for name, value in rows]


def _lineage_row(run: RunInfo) -> list[tuple[str, str]]:
    return [("lineage", run.lineage.description)] if run.lineage else []


def _env_steps_lost(status: run_pb2.RunStatus) -> int | None:
    """Return what replay never got, None while actors still hold the ends of episodes."""
    has_ended = status.phase in (run_pb2.LAST_STEPS, run_pb2.FINISHED)
    return max(0, status.env_steps - status.steps_inserted) if has_ended else None


def _steps(summary: dict[str, Any]) -> str:
    text = f"{summary['env_steps']:,} env_steps, {summary['train_steps']:,} train_steps"
    lost = summary["env_steps_lost"]
    return f"{text}; {lost:,} env_steps were lost before replay kept them" if lost else text


def software_versions(checkout: Path) -> dict[str, str]:
    """Return the versions of what a run's result may depend on, the checkout's commit included."""
    versions = {"python": platform.python_version()}
    for name, distribution in _PACKAGES.items():
        try:
            versions[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    commit = _git_commit(checkout)
    if commit:
        versions["git_commit"] = commit
    return versions


def _git_commit(checkout: Path) -> str:
    if not (checkout / ".git").exists():
        return ""
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    command = ["git", "-C", str(checkout), *describe]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5.0, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

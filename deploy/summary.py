"""What remains of a run: ``summary.json`` and the last lines on the terminal.

Called by the launcher when every process has ended. Reads the run's evaluations and the last
status; knows no process.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from deploy.display import format_duration
from deploy.fairness import Stamp, make_stamp, stamp_line
from deploy.local import Outcome
from deploy.on_disk import (
    EPISODES_FILE,
    EVALUATIONS_FILE,
    counts_on_disk,
    files_row,
    unsaved_rows,
    wandb_rows,
)
from efficientzero.config import BudgetConfig
from efficientzero.options import git_commit
from efficientzero.rpc import run_pb2
from efficientzero.run_folder import RunInfo, read_lines, write_json

_NEWEST_GAMES = 100

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
    saved, weights_problem = _newest_checkpoint(run.directory / "checkpoints")
    # What the folder proves may be newer than the last status that was read.
    kept = counts_on_disk(run)
    env_steps = max(status.env_steps, kept.env_steps, saved.env_steps)
    stamp, stamp_problem = _stamp(run, env_steps)
    problems = {"fairness": stamp_problem, "weights_sha256": weights_problem}
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
        "train_steps": max(status.train_steps, kept.train_steps),
        "env_steps_lost": stamp.env_steps_lost if stamp else None,
        "episodes": max(status.episodes, kept.episodes),
        "wall_s": round(wall_s, 1),
        "fairness": stamp and dataclasses.asdict(stamp),
        "config_hash": run.config_hash,
        "weights_sha256": saved.weights_sha256,
        "versions": run.versions,
        "lineage": run.lineage and dataclasses.asdict(run.lineage),
        "exit_reason": outcome.reason,
        "exit_code": outcome.exit_code,
        # Only of a run folder with damage: why a value above is missing.
        **({"problems": known} if (known := {k: v for k, v in problems.items() if v}) else {}),
    }


def _stamp(run: RunInfo, env_steps: int) -> tuple[Stamp | None, str]:
    """Return the fairness stamp, or None and why there is none if it cannot be read."""
    try:
        return make_stamp(run.directory, run.config, env_steps=env_steps), ""
    except ValueError as error:
        return None, str(error)


class _Saved(NamedTuple):
    """What the summary takes from a checkpoint."""

    weights_sha256: str | None = None
    env_steps: int = 0


def _newest_checkpoint(folder: Path) -> tuple[_Saved, str]:
    """Return what the newest checkpoint says; nothing and why where it is not readable.

    Without any checkpoint both are empty.
    """
    from efficientzero import checkpoint  # noqa: PLC0415  imports torch, 2 s: not for --help

    try:
        paths = checkpoint.list_checkpoints(folder)
        if not paths:
            return _Saved(), ""
        state = checkpoint.load_checkpoint(paths[-1])
        digest = checkpoint.weights_sha256(state["network"])
        return _Saved(digest, state.get("env_steps", 0)), ""
    except (OSError, ValueError) as error:
        return _Saved(), str(error)


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
    mean, problems = summary["eval_return_mean"], summary.get("problems", {})
    kind = "final evaluation" if summary["eval_is_final"] else "newest evaluation"
    episodes = len(summary["eval_returns"])
    result = "none" if mean is None else f"{mean:.4g} (mean of {episodes} episodes, {kind})"
    stamp = summary["fairness"] and Stamp(**summary["fairness"])
    rows = [
        ("run", f"{run.run_id}: {summary['exit_reason']}, exit code {summary['exit_code']}"),
        *_lineage_row(run),
        ("return", result),
        ("training", _training(run.directory / EPISODES_FILE)),
        ("steps", _steps(run, summary)),
        ("weights", _weights(summary["weights_sha256"], problems.get("weights_sha256", ""))),
        *unsaved_rows(run, summary),
        ("wall time", format_duration(summary["wall_s"])),
        ("fairness", stamp_line(stamp, problems.get("fairness", ""))),
        files_row(run),
        *wandb_rows(run, expected, wandb_before),
    ]
    return [f"{name:<10} {value}" for name, value in rows]


def _lineage_row(run: RunInfo) -> list[tuple[str, str]]:
    return [("lineage", run.lineage.description)] if run.lineage else []


def _training(path: Path) -> str:
    """Say what the newest games returned that were played to train on."""
    returns = [line["return"] for line in read_lines(path) if "return" in line]
    newest = returns[-_NEWEST_GAMES:]
    if not newest:
        return "no game has ended"
    of_all = f"the newest {len(newest)} of {len(returns):,} games played to train on"
    return f"{sum(newest) / len(newest):.4g} (mean of {of_all})"


def _weights(digest: str | None, problem: str) -> str:
    return f"sha256 {digest}" if digest else problem or "none saved"


def budget_text(budget: BudgetConfig) -> str:
    """Return the budget in words: the train_steps after collection are extra."""
    return f"{budget.env_steps:,} env_steps, {_train_steps_budget(budget)}"


def _train_steps_budget(budget: BudgetConfig) -> str:
    return (
        f"{budget.total_train_steps:,} train_steps ({budget.train_steps:,} + "
        f"{budget.last_train_steps:,}: budget.train_steps + budget.last_train_steps)"
    )


def _steps(run: RunInfo, summary: dict[str, Any]) -> str:
    budget = run.config.budget
    text = (
        f"{summary['env_steps']:,} of {budget.env_steps:,} env_steps, "
        f"{summary['train_steps']:,} of {_train_steps_budget(budget)}"
    )
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
    commit = git_commit(checkout)
    if commit:
        versions["git_commit"] = commit
    return versions

"""What remains of a run in words: the last lines on the terminal, made of ``summary.json``.

Called by the launcher when every process has ended, and for the status of a run that has.
"""

from __future__ import annotations

import platform
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any

from deploy.results.fairness import stamp_line
from deploy.results.on_disk import files_row, unsaved_rows, wandb_rows
from efficientzero.config import BudgetConfig
from efficientzero.process.options import git_commit
from efficientzero.runs.results.episode_lines import EPISODES_FILE, num_episodes
from efficientzero.runs.results.fairness_stamp import Stamp
from efficientzero.runs.run_folder import RunInfo, read_lines

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
        *[("collapse", line["message"]) for line in summary.get("collapse", [])],
        ("wall time", format_duration(summary["wall_s"])),
        *_cost_row(summary.get("cpu_seconds") or {}),
        ("fairness", stamp_line(stamp, problems.get("fairness", ""))),
        files_row(run),
        *wandb_rows(run, expected, wandb_before),
    ]
    return [f"{name:<10} {value}" for name, value in rows]


def _lineage_row(run: RunInfo) -> list[tuple[str, str]]:
    return [("lineage", run.lineage.description)] if run.lineage else []


def _cost_row(cpu_seconds: dict[str, float]) -> list[tuple[str, str]]:
    if not cpu_seconds:
        return []
    of_roles = ", ".join(f"{role} {seconds:,.0f}" for role, seconds in cpu_seconds.items())
    return [("cost", f"{sum(cpu_seconds.values()):,.0f} CPU-seconds: {of_roles}")]


def _training(path: Path) -> str:
    """Say what the newest games returned that were played to train on."""
    games = [line for line in read_lines(path) if "return" in line]
    newest = [line["return"] for line in games[-_NEWEST_GAMES:]]  # each of one game
    if not newest:
        return "no game has ended"
    num_games = sum(map(num_episodes, games))
    of_all = f"the newest {len(newest)} of {num_games:,} games played to train on"
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


def format_duration(seconds: float | None) -> str:
    """Return hours:minutes:seconds, or a dash when unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"

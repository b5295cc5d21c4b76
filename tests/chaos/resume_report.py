"""What became of a run that was killed as a whole and resumed, beside runs that were left alone."""

from __future__ import annotations

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.results.wandb_history import WandbRun, find_runs
from efficientzero.config.fields import Config
from efficientzero.config.schedules import learning_rate
from efficientzero.runs.results.env_step_journal import EnvStepJournal
from efficientzero.runs.run_folder import RunInfo
from tests.chaos.returns import compare, half_width

RATIO_TOLERANCE = 0.05
"""Of the replay ratio, as a share of the configured one; the fairness stamp's own."""

_SLACK = 2
"""Env_steps of an environment that are being made and sent."""
_RESUMED = re.compile(r"resumed at train_step (\d+) with (\d+) env_steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One power cut."""

    at_train_step: int
    at_env_step: int
    resumed_at_train_step: int
    resumed_at_env_step: int
    """Env_steps after it were undone with the weights that they trained, and played again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How one run ended."""

    directory: str
    return_mean: float
    return_half_width: float
    """Of the 95 % interval of the mean over the final evaluation's episodes."""
    episodes: int
    env_steps: int
    env_steps_lost: int | None
    train_steps: int
    replay_ratio: float
    """Train_steps per env_step, as a share of the configured ones."""
    wall_s: float
    """Of the last launch."""


@dataclass(slots=True, kw_only=True)
class Report:
    """Both runs, and what is wrong."""

    undisturbed: list[Run]
    killed: Run
    kills: list[Kill]
    most_lost: int
    """Bound on the killed run's ``env_steps_lost``."""
    learning_rates: int
    """Logged by the killed run's learners; each was compared with the schedule."""
    wandb_files: int
    wandb_ids: list[str]
    difference: float
    noise: float
    """Bound on the difference of the mean returns, see ``tests.chaos.returns``."""
    failures: list[str] = field(default_factory=list)


def make_report(
    killed: Path, seen: Sequence[tuple[int, int]], undisturbed: Sequence[Path]
) -> Report:
    """Judge complete runs.

    Args:
        killed: folder of the run that was killed and resumed.
        seen: its train_step and env_step before each kill.
        undisturbed: folders of the others.
    """
    config = info(killed).config
    resumed = [
        (int(found[1]), int(found[2]))
        for found in _RESUMED.finditer((killed / "logs" / "learner-0.log").read_text())
    ]
    tracked = [run for run in find_runs(killed / "wandb") if run.run_id]
    returns = [_summary(folder)["eval_returns"] for folder in (killed, *undisturbed)]
    comparison = compare(returns[0], returns[1:])
    report = Report(
        undisturbed=[_run(folder) for folder in undisturbed],
        killed=_run(killed),
        kills=[
            Kill(
                at_train_step=at[0],
                at_env_step=max(at[1], EnvStepJournal(killed, launch).read()),
                resumed_at_train_step=to[0],
                resumed_at_env_step=to[1],
            )
            for launch, (at, to) in enumerate(zip(seen, resumed, strict=False))
        ],
        most_lost=len(seen) * _in_flight(config),
        learning_rates=len(_learning_rates(tracked)),
        wandb_files=len(tracked),
        wandb_ids=sorted({run.run_id for run in tracked}),
        difference=comparison.difference,
        noise=comparison.noise,
    )
    if len(resumed) != len(seen):
        report.failures.append(f"{len(seen)} kills, but learners resumed {len(resumed)} times")
    if not comparison.is_noise:
        report.failures.append("the returns differ by more than noise")
    report.failures += [
        *_wrong_counts(report, config),
        *_wrong_learning_rates(tracked, config),
        *_wrong_ids(tracked, info(killed).run_uid, launches=len(seen) + 1),
    ]
    return report


def _wrong_counts(report: Report, config: Config) -> list[str]:
    budget, failures = config.budget, []
    for run in (report.killed, *report.undisturbed):
        if run.env_steps != budget.env_steps:
            failures.append(f"{run.directory}: {run.env_steps} of {budget.env_steps} env_steps")
        if run.train_steps != budget.total_train_steps:
            wanted = budget.total_train_steps
            failures.append(f"{run.directory}: {run.train_steps} of {wanted} train_steps")
        if abs(run.replay_ratio - 1.0) > RATIO_TOLERANCE:
            failures.append(f"{run.directory}: ratio {run.replay_ratio:.3f} of the configured one")
    lost = report.killed.env_steps_lost
    if lost is None or lost > report.most_lost:
        failures.append(f"{lost} env_steps lost, wanted at most {report.most_lost}")
    # One interval, and another one while that checkpoint was being written.
    most_undone = 2 * config.learner.checkpoint_interval
    for kill in report.kills:
        undone = kill.at_train_step - kill.resumed_at_train_step
        if undone > most_undone:
            failures.append(f"{undone} train_steps undone by a kill, wanted at most {most_undone}")
    return failures


def _wrong_learning_rates(tracked: Sequence[WandbRun], config: Config) -> list[str]:
    return [
        f"learning rate {lr} at train_step {step}"
        for step, lr in _learning_rates(tracked)
        # A row is written after its train_step was counted.
        if lr != pytest.approx(learning_rate(step - 1, config.learner, config.budget))
    ]


def _learning_rates(tracked: Sequence[WandbRun]) -> list[tuple[int, float]]:
    return [
        (row["learner/train_steps"], row["learner/lr"])
        for run in tracked
        if run.job_type == "learner"
        for row in run.rows
        if "learner/lr" in row
    ]


def _wrong_ids(tracked: Sequence[WandbRun], run_uid: str, *, launches: int) -> list[str]:
    files: dict[tuple[str, int], list[str]] = defaultdict(list)
    for run in tracked:
        files[run.job_type, run.config["role_index"]].append(run.run_id)
    wrong = [
        f"wandb ids of {role}-{index}: {sorted(set(ids))}"
        for (role, index), ids in files.items()
        if set(ids) != {f"{run_uid}-{role}-{index}"}
    ]
    learners = len(files["learner", 0])
    return wrong + ([] if learners == launches else [f"{learners} files of {launches} learners"])


def _in_flight(config: Config) -> int:
    """Return the env_steps that all actors hold: replay gets a step when its window is full."""
    agent = config.agent
    window = agent.num_unroll_steps + agent.td_steps
    per_environment = window + config.replay.frames_per_block + _SLACK
    return config.cluster.num_actors * config.actor.num_envs * per_environment


def _run(folder: Path) -> Run:
    summary = _summary(folder)
    stamp, returns = summary["fairness"], summary["eval_returns"]
    return Run(
        directory=str(folder),
        return_mean=statistics.fmean(returns),
        return_half_width=half_width(returns),
        episodes=len(returns),
        env_steps=summary["env_steps"],
        env_steps_lost=summary["env_steps_lost"],
        train_steps=summary["train_steps"],
        replay_ratio=stamp["replay_ratio"] / stamp["configured_replay_ratio"],
        wall_s=summary["wall_s"],
    )


def complete(folder: Path) -> Path:
    """Return the folder of a run that was evaluated at its end.

    Raises:
        ValueError: it was not.
    """
    summary = _summary(folder)
    if not summary["eval_is_final"]:
        raise ValueError(f"{folder}: wanted a complete run, got {summary['exit_reason']}")
    return folder


def _summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def info(folder: Path) -> RunInfo:
    """Return the run's own file."""
    return RunInfo.load(folder / "config.json")

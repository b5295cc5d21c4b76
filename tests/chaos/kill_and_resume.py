"""One run whose every process is killed at once, several times, and one that is left alone.

``python -m tests.chaos --kill-and-resume 3 --preset cartpole --seed 0 --runs-dir DIR``. Each time
the launcher and all it started are killed with -9, as a power cut would, at equal shares of the
train_steps, and ``launch.py --resume`` goes on. Both must play and train what was configured, and
end with the same return.
"""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.wandb_history import WandbRun, find_runs
from efficientzero.config import Config
from efficientzero.run_folder import RunInfo
from efficientzero.schedules import learning_rate
from learner.env_step_journal import EnvStepJournal
from tests.chaos.returns import compare, half_width
from tests.integration.local_runs import LocalRun

RATIO_TOLERANCE = 0.05
"""Of the replay ratio, as a share of the configured one; the fairness stamp's own."""

_SLACK = 2
"""Env_steps of an environment that are being made and sent."""
_PATIENCE_S = 3 * 3600.0
_RESUMED = re.compile(r"resumed at train_step (\d+) with (\d+) env_steps")
# Rows close to each other: a learning rate that warmed up again would be seen.
_RECORDS = ("--tracking.mode", "offline", "--learner.log-interval", "20")


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


def kill_and_resume(
    launch_options: Sequence[str],
    *,
    num_kills: int,
    runs_dir: Path,
    name: str,
    undisturbed: Sequence[Path],
) -> Report:
    """Run, kill and resume, compare.

    Args:
        launch_options: of ``launch.py``: preset, seed, whatever else.
        num_kills: how often.
        runs_dir: for both runs.
        name: of the runs; ``-killed`` and ``-undisturbed`` are appended.
        undisturbed: folders of complete runs to compare with; empty: one is made.

    Raises:
        AssertionError: a run did not get to its end.
        ValueError: an undisturbed run of other hyperparameters, or not complete.
    """
    options = (*_RECORDS, *launch_options)
    others = [_complete(folder) for folder in undisturbed]
    killed, seen = _killed(options, num_kills=num_kills, runs_dir=runs_dir, name=f"{name}-killed")
    if not others:
        _note("now a run that is left alone")
        with LocalRun(runs_dir, *options, name=f"{name}-undisturbed") as run:
            code = run.wait(_PATIENCE_S)
            assert code == 0, f"exit code {code}:\n{run.output[-3000:]}"
            others = [_complete(run.directory)]
    for other in others:
        ours, theirs = _info(killed).config_hash, _info(other).config_hash
        if ours != theirs:
            raise ValueError(f"{other}: config {theirs}, wanted {ours} as of the killed run")
    return _report(killed, seen, others)


def lines(report: Report) -> str:
    """Return the report for a person."""
    text = []
    for kind, run in [("killed", report.killed), *(("undisturbed", r) for r in report.undisturbed)]:
        lost = "unknown" if run.env_steps_lost is None else run.env_steps_lost
        text.append(
            f"{kind:<12} return {run.return_mean:.4g} +- {run.return_half_width:.2g} (95 %, "
            f"{run.episodes} episodes), {run.env_steps} env_steps, {lost} lost, "
            f"{run.train_steps} train_steps, ratio {run.replay_ratio:.3f}: {run.directory}"
        )
    text += [
        f"kill -9      at train_step {k.at_train_step}, env_step {k.at_env_step}; resumed at "
        f"train_step {k.resumed_at_train_step}, env_step {k.resumed_at_env_step}"
        for k in report.kills
    ]
    ids = ", ".join(report.wandb_ids)
    undone = sum(kill.at_env_step - kill.resumed_at_env_step for kill in report.kills)
    text += [
        f"env_steps    {report.killed.env_steps_lost} lost, at most {report.most_lost}",
        f"env_steps    {undone} came after the checkpoints and were played again",
        f"lr           {report.learning_rates} rows of all launches lie on the schedule's curve",
        f"wandb        {report.wandb_files} files of {len(report.wandb_ids)} runs: {ids}",
        f"return       differs by {report.difference:+.4g}, noise is {report.noise:.4g}",
        *(f"FAILED       {failure}" for failure in report.failures),
        f"outcome      {'failed' if report.failures else 'ok'}",
    ]
    return "\n".join(text)


def as_json(report: Report) -> str:
    return json.dumps(dataclasses.asdict(report), indent=2)


def _killed(
    options: Sequence[str], *, num_kills: int, runs_dir: Path, name: str
) -> tuple[Path, list[tuple[int, int]]]:
    """Run with ``num_kills`` kills; return the folder, and train_step and env_step at each."""
    seen: list[tuple[int, int]] = []
    for launch in range(num_kills + 1):
        is_first = launch == 0
        with LocalRun(
            runs_dir, *(options if is_first else ()), name=name, resume=not is_first
        ) as run:
            if launch == num_kills:
                code = run.wait(_PATIENCE_S)
                assert code == 0, f"exit code {code}:\n{run.output[-3000:]}"
                return run.directory, seen
            run.wait_for_config()
            train_steps = _info(run.directory).config.budget.train_steps
            moment = train_steps * (launch + 1) // (num_kills + 1)
            status = run.wait_for_status(
                f"train_step {moment}",
                lambda known, at=moment: known.train_steps >= at,
                timeout_s=_PATIENCE_S,
            )
            run.kill_all()
            seen.append((status.train_steps, status.env_steps))
            _note(f"killed everything at train_step {status.train_steps}")
    raise AssertionError


def _report(killed: Path, seen: Sequence[tuple[int, int]], undisturbed: Sequence[Path]) -> Report:
    config = _info(killed).config
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
        *_wrong_ids(tracked, _info(killed).run_uid, launches=len(seen) + 1),
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


def _complete(folder: Path) -> Path:
    summary = _summary(folder)
    if not summary["eval_is_final"]:
        raise ValueError(f"{folder}: wanted a complete run, got {summary['exit_reason']}")
    return folder


def _summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def _info(folder: Path) -> RunInfo:
    return RunInfo.load(folder / "config.json")


def _note(text: str) -> None:
    print(f"[chaos] {text}", file=sys.stderr, flush=True)

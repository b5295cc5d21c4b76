"""One run whose every process is killed at once, several times, and one that is left alone.

``python -m tests.chaos --kill-and-resume 3 --preset cartpole --seed 0 --runs-dir DIR``. Each time
the launcher and all it started are killed with -9, as a power cut would, at equal shares of the
train_steps, and ``launch.py --resume`` goes on. Both must play and train what was configured, and
end with the same return.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.resume_report import Report, complete, info, make_report
from tests.integration.local_runs import LocalRun

_PATIENCE_S = 3 * 3600.0
# Rows close to each other: a learning rate that warmed up again would be seen.
_RECORDS = ("--tracking.mode", "offline", "--learner.log-interval", "20")


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
    others = [complete(folder) for folder in undisturbed]
    killed, seen = _killed(options, num_kills=num_kills, runs_dir=runs_dir, name=f"{name}-killed")
    if not others:
        _note("now a run that is left alone")
        with LocalRun(runs_dir, *options, name=f"{name}-undisturbed") as run:
            code = run.wait(_PATIENCE_S)
            assert code == 0, f"exit code {code}:\n{run.output[-3000:]}"
            others = [complete(run.directory)]
    for other in others:
        ours, theirs = info(killed).config_hash, info(other).config_hash
        if ours != theirs:
            raise ValueError(f"{other}: config {theirs}, wanted {ours} as of the killed run")
    return make_report(killed, seen, others)


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
            train_steps = info(run.directory).config.budget.train_steps
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


def _note(text: str) -> None:
    print(f"[chaos] {text}", file=sys.stderr, flush=True)

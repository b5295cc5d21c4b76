"""``summary.json``: a run's results for programs, made from the files in its folder.

Written by the launcher when every process has ended, or by a learner that no launcher supervises.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from efficientzero.process.disk_space import release_reserve
from efficientzero.rpc.stubs import run_pb2
from efficientzero.runs.results.cpu_seconds import cpu_seconds_of
from efficientzero.runs.results.env_step_journal import newest_count
from efficientzero.runs.results.episode_lines import EPISODES_FILE, num_episodes
from efficientzero.runs.results.fairness_stamp import Stamp, make_stamp
from efficientzero.runs.run_folder import RunInfo, read_lines, write_json

SUMMARY_FILE = "summary.json"
EVALUATIONS_FILE = "evaluations.jsonl"
COLLAPSES_FILE = "collapses.jsonl"


class Outcome(NamedTuple):
    """How a run ended."""

    exit_code: int  # 0 at budget, 1 failed, 128 + signal when interrupted
    reason: str  # "budget", "interrupted", "failed: ..."


def summarize(
    run: RunInfo, outcome: Outcome, *, status: run_pb2.RunStatus | None, wall_s: float
) -> dict[str, Any]:
    """Return the summary: the result, its cost, and the settings to repeat it."""
    evaluations = read_lines(run.directory / EVALUATIONS_FILE)
    final = [evaluation for evaluation in evaluations if evaluation.get("is_final")]
    best_known = (final or evaluations or [{}])[-1]
    status = status or run_pb2.RunStatus()
    saved, weights_problem = _checkpoint_facts(run.directory / "checkpoints")
    # The folder's counts may be newer than the last status that was read.
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
        # Against each baseline in each seat; of games of two players only.
        **({"eval_scores": best_known["scores"]} if "scores" in best_known else {}),
        "eval_is_final": bool(final),
        "eval_weights_version": best_known.get("weights_version"),
        "env_steps": env_steps,
        "train_steps": max(status.train_steps, kept.train_steps),
        "env_steps_lost": stamp.env_steps_lost if stamp else None,
        "episodes": max(status.episodes, kept.episodes),
        "collapse": read_lines(run.directory / COLLAPSES_FILE),
        "wall_s": round(wall_s, 1),
        "cpu_seconds": cpu_seconds_of(run.directory),
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
    """Return the fairness stamp, or None and the reason if it cannot be read."""
    try:
        return make_stamp(run.directory, run.config, env_steps=env_steps), ""
    except ValueError as error:
        return None, str(error)


class _Saved(NamedTuple):
    """The summary's values from a checkpoint."""

    weights_sha256: str | None = None
    env_steps: int = 0


def _checkpoint_facts(folder: Path) -> tuple[_Saved, str]:
    """Return values of the newest checkpoint, or nothing and the reason if it is unreadable.

    Without any checkpoint both are empty.
    """
    from efficientzero.runs import checkpoint  # noqa: PLC0415  imports torch, 2 s: not for --help

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
        OSError: the write failed.
    """
    path = run.directory / SUMMARY_FILE
    release_reserve(run.directory)  # nothing is saved after this; a killed learner left it
    write_json(path, summary)
    return path


class Counts(NamedTuple):
    """How far a run came."""

    env_steps: int
    train_steps: int
    episodes: int  # ended games that were trained on


def counts_on_disk(run: RunInfo) -> Counts:
    """Return the largest counts found in the run folder; zeros in a new one."""
    evaluations = read_lines(run.directory / EVALUATIONS_FILE)
    games = [line for line in read_lines(run.directory / EPISODES_FILE) if "return" in line]
    counted = [int(line.get("env_steps", 0)) for line in (*evaluations, *games)]
    trained = [int(line.get("train_steps", 0)) for line in evaluations]
    return Counts(
        env_steps=max(newest_count(run.directory), *counted, 0),
        train_steps=max(newest_train_step(run) or 0, *trained, 0),
        episodes=sum(map(num_episodes, games)),
    )


def newest_train_step(run: RunInfo) -> int | None:
    """Return the train_step of the newest checkpoint, None without any."""
    try:
        names = [path.name for path in (run.directory / "checkpoints").glob("checkpoint_*.pt")]
    except OSError:
        return None
    return max((int(name[11:-3]) for name in names if name[11:-3].isdecimal()), default=None)

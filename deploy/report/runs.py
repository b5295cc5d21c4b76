"""A run as the report sees it: its evaluations and where its processes' time went.

Everything but the fairness stamp is read from the run's own wandb files, uploaded or not.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.wandb_history import WandbRun, find_runs
from efficientzero.naming import environment_part

_SUMMARY_FILE = "summary.json"


class ReportError(Exception):
    """The runs cannot be reported on; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One evaluation."""

    returns: tuple[float, ...]
    """Raw return of each episode."""
    env_steps: int
    train_steps: int
    minutes: float
    """Since the run's first row."""
    is_final: bool

    @property
    def mean(self) -> float:
        """Mean return over the episodes."""
        return sum(self.returns) / len(self.returns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One seed of one group."""

    name: str
    """Of its folder."""
    group: str
    method: str
    """The group's name without the environment: what is the same across environments."""
    env_id: str
    seed: int
    evaluations: tuple[Evaluation, ...]
    """In the order of env_steps; at least one."""
    time_shares: dict[str, dict[str, float]]
    """Role -> section -> share of the wall time of all its processes."""
    fairness: dict[str, Any]
    """The stamp in ``summary.json``; empty if there is none."""

    @property
    def last(self) -> Evaluation:
        """The final evaluation, or the newest of a run that has none."""
        return next((e for e in self.evaluations if e.is_final), self.evaluations[-1])


def read_runs(directories: Sequence[Path]) -> list[Run]:
    """Read run folders; in the order of method, environment and seed.

    Raises:
        ReportError: none given, one of them without evaluations, or two of one group and seed.
    """
    if not directories:
        raise ReportError("got no run folder, wanted at least one")
    runs = sorted(map(read_run, directories), key=lambda run: (run.method, run.env_id, run.seed))
    for first, second in itertools.pairwise(runs):
        if (first.group, first.seed) == (second.group, second.seed):
            raise ReportError(
                f"{first.name} and {second.name} are both seed {first.seed} of {first.group}, "
                "wanted each seed once"
            )
    return runs


def read_run(directory: Path) -> Run:
    """Read one run folder."""
    try:
        files = [file for file in find_runs(directory / "wandb") if file.job_type]
    except OSError as error:
        where = error.filename or directory
        raise ReportError(f"{where}: cannot be read ({error.strerror})") from error
    rows = [row for file in files if file.job_type == "evaluator" for row in file.rows]
    started = min((row["_timestamp"] for file in files for row in file.rows), default=0.0)
    evaluations = [_evaluation(row, started) for row in rows if "eval/return_mean" in row]
    if not evaluations:
        raise ReportError(f"{directory}: got no evaluation in its wandb files, wanted one or more")
    evaluations.sort(key=lambda e: (e.env_steps, e.minutes))
    group, config = files[0].group, files[0].config
    env_id = config["env"]["id"]
    return Run(
        name=directory.resolve().name,
        group=group,
        method=method_of(group, env_id) or config["preset"],
        env_id=env_id,
        seed=config["seed"],
        evaluations=tuple(evaluations),
        time_shares=_time_shares(files),
        fairness=_fairness(directory / _SUMMARY_FILE),
    )


def method_of(group: str, env_id: str) -> str:
    """Return the group's name without the environment it begins with."""
    env = environment_part(env_id)
    return group.removeprefix(env).strip("_") if group.startswith(env) else group


def _evaluation(row: dict[str, Any], started: float) -> Evaluation:
    episodes = {
        int(key.removeprefix("eval/return_episode")): float(value)
        for key, value in row.items()
        if key.startswith("eval/return_episode")
    }
    return Evaluation(
        returns=tuple(episodes[k] for k in sorted(episodes)),
        env_steps=int(row["eval/env_steps"]),
        train_steps=int(row["eval/train_steps"]),
        minutes=(row["_timestamp"] - started) / 60.0,
        is_final=bool(row["eval/is_final"]),
    )


def _time_shares(files: Iterable[WandbRun]) -> dict[str, dict[str, float]]:
    """Return role -> section -> share, each row counted for the wall time it tells of.

    A process that was started again goes on with its wall time in another file; one of an older
    version began at 0.
    """
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    totals: dict[str, float] = defaultdict(float)
    ends: dict[str, float] = {}
    for file in files:
        role, before = file.job_type, ends.get(file.run_id, 0.0)
        prefix, ending = f"{role}/time/", "_share"
        for row in file.rows:
            sections = {
                key.removeprefix(prefix).removesuffix(ending): share
                for key, share in row.items()
                if key.startswith(prefix) and key.endswith(ending)
            }
            if not sections:
                continue
            now = row[f"{role}/wall_s"]
            wall_s, before = now - before if now >= before else now, now
            totals[role] += wall_s
            sections.pop("wait", None)  # the sum of others
            for section, share in sections.items():
                seconds[role][section] += share * wall_s
        ends[file.run_id] = before
    return {
        role: {section: spent / totals[role] for section, spent in sections.items()}
        for role, sections in seconds.items()
        if totals[role] > 0.0
    }


def _fairness(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()).get("fairness") or {})
    except (OSError, ValueError):
        return {}

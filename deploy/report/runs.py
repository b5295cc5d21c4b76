"""Reads the runs of a report, and decides which of the given ones are used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.report.run_files import (
    Evaluation,
    ReportError,
    Series,
    evaluation,
    final_evaluation,
    kept_evaluations,
    read_summary,
    time_shares,
    training_metrics,
)
from deploy.results import WandbRun, find_runs
from efficientzero.config import Config, experiment_values, flatten
from efficientzero.runs.name_parts import canonical
from efficientzero.runs.naming import environment_part
from efficientzero.runs.results.run_summary import EVALUATIONS_FILE, SUMMARY_FILE

_FAILED = (1, 2)
"""Exit codes of a run that must not be compared; others finished, were stopped, or run."""
_LINEAGE = ("lineage.replay_digest", "lineage.weights_digest", "lineage.is_frozen")


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
    arm: str = ""
    """What a study calls it: ``full``, ``no_value_prefix``; empty: no study named it."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Dotted field -> value, of those that can change a result (``compared_values``)."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version, and the commit."""
    is_finished: bool = False
    """Whether ``summary.json`` says that it made its final evaluation."""
    problems: tuple[str, ...] = ()
    """What is missing or damaged in its files, a sentence each without its end."""
    collapses: tuple[str, ...] = ()
    """Which parts of its network have collapsed, in the same form."""
    training: Mapping[str, Series] = field(default_factory=dict)
    """Metric of the learner, without ``learner/`` -> its values over train_steps."""

    @property
    def experiment(self) -> str:
        """What is equal for two runs of one experiment in any environment."""
        if not self.config:
            return self.method
        values = {key: value for key, value in self.config.items() if key != "env.id"}
        return json.dumps(values, sort_keys=True)

    @property
    def last(self) -> Evaluation:
        """The final evaluation, or the newest of a run that has none."""
        return next((e for e in self.evaluations if e.is_final), self.evaluations[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A given path that is not in the report."""

    name: str
    reason: str


def read_runs(paths: Sequence[Path]) -> tuple[list[Run], list[LeftOut]]:
    """Read run folders; what cannot be used is left out, with the reason.

    Returns:
        Runs in the order of method, environment and seed, each seed of a group once; and the rest.

    Raises:
        ReportError: none given, or none that can be used.
    """
    if not paths:
        raise ReportError("got no run folder, wanted at least one")
    found: dict[Path, tuple[Path, Run]] = {}
    left_out = []
    for path in paths:
        try:
            if path.resolve() in found:
                raise ReportError("given twice")
            found[path.resolve()] = path, read_run(path)
        except ReportError as error:
            left_out.append(LeftOut(name=str(path), reason=str(error)))
    kept: dict[tuple[str, str, int], Run] = {}
    for path, run in sorted(found.values(), key=lambda each: _preference(each[1])):
        other = kept.setdefault((run.env_id, run.experiment, run.seed), run)
        if other is not run:
            reason = f"seed {run.seed} of {run.group} again; {other.name} is used"
            left_out.append(LeftOut(name=str(path), reason=reason))
    if not kept:
        listed = [f"\n  {one.name}: {one.reason}" for one in left_out]
        raise ReportError(f"got no run that can be used, wanted one or more{''.join(listed)}")
    return sorted(kept.values(), key=lambda run: (run.method, run.env_id, run.seed)), left_out


def read_run(path: Path) -> Run:
    """Read one run folder.

    Raises:
        ReportError: it cannot be used; says why.
    """
    try:
        if not path.is_dir():
            raise ReportError("a file, no run folder" if path.exists() else "there is nothing")
        summary = read_summary(path)
        if summary.get("exit_code") in _FAILED:
            reason = summary.get("exit_reason") or "no reason recorded"
            raise ReportError(f"ended with code {summary['exit_code']}: {reason}")
        found = find_runs(path / "wandb")
        damage = [file.damage for file in found if file.damage]
        files = [file for file in found if file.job_type]
        if not files:
            raise ReportError("; ".join(damage) or _without_files(path))
        return _read(path, files, summary, damage)
    except OSError as error:
        where = error.filename or path
        raise ReportError(f"{where}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ReportError(f"cannot be read as a run ({problem})") from error


def _read(
    path: Path, files: Sequence[WandbRun], summary: Mapping[str, Any], damage: Sequence[str]
) -> Run:
    rows = [row for file in files if file.job_type == "evaluator" for row in file.rows]
    started = min((row["_timestamp"] for file in files for row in file.rows), default=0.0)
    evaluations = [evaluation(row, started) for row in rows if "eval/return_mean" in row]
    problems = list(damage)
    if not evaluations:  # the evaluator may have written elsewhere: in another container
        evaluations = kept_evaluations(path)
        if evaluations:
            problems.append(f"its wandb files have no evaluation: taken from {EVALUATIONS_FILE}")
    if not evaluations:
        why = f" ({'; '.join(damage)})" * bool(damage)
        raise ReportError(f"no evaluation in its wandb files{why}")
    is_finished = bool(summary.get("eval_is_final"))
    if is_finished and not any(each.is_final for each in evaluations):
        final = final_evaluation(summary, after=evaluations)
        taken = f"taken from {SUMMARY_FILE}" if final else f"nor is it in {SUMMARY_FILE}"
        problems.append(f"the final evaluation is missing from its wandb files, {taken}")
        evaluations += [final] if final else []
    evaluations.sort(key=lambda e: (e.env_steps, e.minutes))
    group, config = files[0].group, files[0].config
    env_id = config["env"]["id"]
    return Run(
        name=path.resolve().name,
        group=group,
        method=method_of(group, env_id) or config["preset"],
        env_id=env_id,
        seed=config["seed"],
        evaluations=tuple(evaluations),
        time_shares=time_shares(files),
        fairness=dict(summary.get("fairness") or {}),
        arm=config.get("tracking", {}).get("arm", ""),
        config=compared_values(flatten(config)),
        versions=dict(config.get("versions") or {}),
        training=training_metrics(files),
        is_finished=is_finished,
        problems=tuple(problems),
        collapses=tuple(line["message"] for line in summary.get("collapse", [])),
    )


def compared_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what can change a result: dotted fields, those that a version lacks as it had them."""
    defaults = experiment_values(Config())
    lineage = {key: config[key] for key in _LINEAGE if config.get(key)}
    suffix = {key: config[key] for key in ("tracking.group_suffix",) if config.get(key)}
    more = {key: config[key] for key in config if key.startswith("env.") and key not in defaults}
    known = {key: config.get(key, default) for key, default in defaults.items()}
    return {key: canonical(value) for key, value in {**known, **more, **lineage, **suffix}.items()}


def _without_files(path: Path) -> str:
    if any(path.glob("*/config.json")):
        return f"no run folder, but it has some: {path}/*"
    if not (path / "config.json").exists():
        return "no run folder: it has no config.json"
    return "no wandb files: it was not tracked, or has not started yet"


def _preference(run: Run) -> tuple[bool, int, bool, str]:
    """Return a sort key: of several runs of one seed, the one that came furthest is first."""
    return not run.last.is_final, -run.last.env_steps, not run.arm, run.name


def method_of(group: str, env_id: str) -> str:
    """Return the group's name without the environment it begins with."""
    env = environment_part(env_id)
    return group.removeprefix(env).strip("_") if group.startswith(env) else group

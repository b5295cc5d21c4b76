"""Reads a run's files: evaluations, training metrics, and time by section.

Everything but fairness stamp and exit code is read from the run's own wandb files, uploaded or not;
a final evaluation that these lack, from ``summary.json``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.results import WandbRun
from efficientzero.runs.results.run_summary import EVALUATIONS_FILE, SUMMARY_FILE
from efficientzero.runs.run_folder import read_lines
from efficientzero.schema import F64

_TRAINING_PREFIX, _TRAINING_AXIS = "learner/", "learner/train_steps"

Series = tuple[F64, F64]
"""x and y, one number a metric row, in the order of x."""


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


def evaluation(row: dict[str, Any], started: float) -> Evaluation:
    """Return what a metric row of the evaluator says; ``started``: time of the run's first row."""
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


def kept_evaluations(path: Path) -> list[Evaluation]:
    """Return the evaluations that the learner kept in the run folder, in its order.

    Raises:
        KeyError, TypeError, ValueError: a record is no evaluation.
    """
    return [
        Evaluation(
            returns=tuple(map(float, line["returns"])),
            env_steps=int(line["env_steps"]),
            train_steps=int(line["train_steps"]),
            minutes=float(line["wall_s"]) / 60.0,
            is_final=bool(line["is_final"]),
        )
        for line in read_lines(path / EVALUATIONS_FILE)
    ]


def final_evaluation(
    summary: Mapping[str, Any], *, after: Sequence[Evaluation]
) -> Evaluation | None:
    """Return the final evaluation from the launcher's summary, None if it is incomplete.

    Args:
        summary: the run's.
        after: the evaluations before it.
    """
    returns = tuple(map(float, summary.get("eval_returns") or ()))
    if not returns or "env_steps" not in summary or "train_steps" not in summary:
        return None
    # The wall time is that of the last launch alone.
    minutes = max(float(summary.get("wall_s", 0.0)) / 60.0, *(each.minutes for each in after))
    return Evaluation(
        returns=returns,
        env_steps=int(summary["env_steps"]),
        train_steps=int(summary["train_steps"]),
        minutes=minutes,
        is_final=True,
    )


def time_shares(files: Iterable[WandbRun]) -> dict[str, dict[str, float]]:
    """Return role -> section -> share, each row weighted by the wall time it covers.

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


def read_summary(path: Path) -> dict[str, Any]:
    """Return the run's summary, nothing if it has none.

    Raises:
        OSError: it may not be read.
        ReportError: it is damaged: whether the run failed is not known.
    """
    file = path / SUMMARY_FILE
    try:
        summary = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ReportError(f"{file}: not readable: {type(error).__name__}: {error}") from error
    if not isinstance(summary, dict):
        kind = type(summary).__name__
        raise ReportError(f"{file}: not readable: got a {kind}, wanted a JSON object")
    return summary


def training_metrics(files: Iterable[WandbRun]) -> dict[str, Series]:
    """Return the learner's metrics; of several rows at one train_step the last counts."""
    values: dict[str, dict[float, float]] = defaultdict(dict)
    for file in files:
        for row in file.rows if file.job_type == "learner" else ():
            for key, value in row.items():
                is_known = key.startswith(_TRAINING_PREFIX) and _TRAINING_AXIS in row
                if is_known and isinstance(value, int | float):
                    values[key.removeprefix(_TRAINING_PREFIX)][row[_TRAINING_AXIS]] = value
    return {
        key: (np.array(sorted(of_key), np.float64), np.array([of_key[x] for x in sorted(of_key)]))
        for key, of_key in values.items()
    }

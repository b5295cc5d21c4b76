"""The command ``metrics``: runs' metrics at the end of training, by arm and in pairs.

Reads run folders: the metric rows in ``wandb/`` and ``summary.json``. Runs nothing. An arm is all
runs of the same experiment; seeds are the pairs.
"""

from __future__ import annotations

import csv
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from benchmarks.learning.intervals import mean_interval
from benchmarks.pages.arms import arm_names
from benchmarks.pages.markdown import interval_text, table
from deploy.ablate.check import read_summary
from deploy.results import read_rows
from efficientzero.config import Config
from efficientzero.runs.run_folder import RunInfo

RETURN, CPU_SECONDS = "return", "CPU-s"
"""Columns from ``summary.json``: the final evaluation's mean, and CPU-seconds of all roles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsCommand:
    """Compare metrics at the end of training over runs: means over seeds, and seeds in pairs.

    Runs that differ in more than the seed are arms. Other arms are compared with the first run's
    arm. Every run's numbers are in the CSV.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of finished runs."""
    names: tuple[str, ...]
    """Metrics, such as learner/value_eval_gap."""
    last: int = 5
    """Number of last values of a metric whose mean is a run's number."""
    out: Annotated[Path, tyro.conf.arg(metavar="PAGE.md")]
    """The page to write; the CSV gets the same name with .csv."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The numbers of one run at its end."""

    config: Config
    values: Mapping[str, float]

    @property
    def task(self) -> str:
        """Environment and preset."""
        return f"{self.config.env.id} ({self.config.preset})"


def write_metrics(command: MetricsCommand, arguments: Sequence[str]) -> None:
    """Write page and CSV.

    Args:
        command: what to do.
        arguments: the command line, for the page.

    Raises:
        ValueError: no run or metric is named, a folder is no finished run or has no value of a
            metric, an arm has a seed twice, or a file cannot be written.
    """
    for what, given in (("runs", command.runs), ("--names", command.names)):
        if not given:
            raise ValueError(f"{what}: got none, wanted at least one")
    if command.last < 1:
        raise ValueError(f"--last: got {command.last}, wanted at least 1")
    arms = _arms([_read(run, command.names, command.last) for run in command.runs])
    columns = (*command.names, RETURN, CPU_SECONDS)
    text = _page(
        arms, columns, command.last, shlex.join(("python", "-m", "benchmarks", *arguments))
    )
    try:
        command.out.parent.mkdir(parents=True, exist_ok=True)
        command.out.write_text(text)
        with command.out.with_suffix(".csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("arm", "seed", *columns))
            for label, ends in arms.items():
                for seed, end in sorted(ends.items()):
                    writer.writerow((label, seed, *(f"{end.values[c]:.6g}" for c in columns)))
    except OSError as error:
        raise ValueError(f"--out: cannot write {error.filename} ({error.strerror})") from error
    print(text, end="", flush=True)


def _read(directory: Path, names: Sequence[str], last: int) -> End:
    config = RunInfo.load(directory / "config.json").config
    summary = read_summary(directory)
    found: dict[str, list[float]] = {name: [] for name in names}
    for row in read_rows(directory):
        for name in found.keys() & row.values.keys():
            found[name].append(row.values[name])
    for name, series in found.items():
        if not series:
            raise ValueError(
                f"{directory}: no value of {name}, wanted a metric of docs/reference/metrics.md"
            )
    if summary.get("eval_return_mean") is None:
        raise ValueError(f"{directory}: no final evaluation, wanted a finished run")
    values = {name: float(np.mean(series[-last:])) for name, series in found.items()}
    values[RETURN] = float(summary["eval_return_mean"])
    values[CPU_SECONDS] = float(sum((summary.get("cpu_seconds") or {}).values())) or np.nan
    return End(config=config, values=values)


def _arms(ends: Sequence[End]) -> dict[str, dict[int, End]]:
    """Return name -> seed -> run."""
    arms: dict[str, dict[int, End]] = {}
    names = arm_names([end.config for end in ends], ends[0].task)
    for name, end in zip(names, ends, strict=True):
        seeds = arms.setdefault(name, {})
        if end.config.seed in seeds:
            raise ValueError(f"runs: got seed {end.config.seed} of {name} twice, wanted each once")
        seeds[end.config.seed] = end
    return arms


def _page(
    arms: Mapping[str, Mapping[int, End]], columns: Sequence[str], last: int, command: str
) -> str:
    base_label, base = next(iter(arms.items()))
    tasks = dict.fromkeys(end.task for ends in arms.values() for end in ends.values())
    means, pairs = [], []
    for label, ends in arms.items():
        seeds = ", ".join(map(str, sorted(ends)))
        cells = [_mean_text([end.values[c] for end in ends.values()]) for c in columns]
        means.append((label, len(ends), seeds, *cells))
        shared = sorted(ends.keys() & base.keys())
        if label != base_label and shared:
            differences = [
                [ends[seed].values[c] - base[seed].values[c] for seed in shared] for c in columns
            ]
            cells = [_mean_text(values) for values in differences]
            pairs.append((label, len(shared), *cells))
    parts = [
        f"# Metrics at the end of training: {', '.join(tasks)}",
        f"Made by `{command}`. A run's number is the mean of the metric's last {last} values; "
        f"*{RETURN}* is the final evaluation's mean, *{CPU_SECONDS}* what all roles used. Means "
        "over seeds with the 95% bootstrap interval in brackets.",
        table(("arm", "n", "seeds", *columns), means),
    ]
    if pairs:
        parts += [
            f"## Differences to {base_label}, seeds in pairs",
            table(("arm", "pairs", *columns), pairs),
        ]
    return "\n\n".join(parts) + "\n"


def _mean_text(values: Sequence[float]) -> str:
    """Return mean and interval; empty if a run has no number (older runs: no CPU-seconds)."""
    return "" if np.isnan(values).any() else interval_text(mean_interval(values))

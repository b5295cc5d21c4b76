"""The command ``curves``: learning curves and a table from the evaluations of finished runs.

Reads ``evaluations.jsonl`` and the seed in ``config.json`` of each run folder; needs no part of the
system to be running.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from efficientzero.runs.run_folder import read_lines
from efficientzero.schema import F64

_COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
_DPI = 110
_MAX_BYTES = 150_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvesCommand:
    """Draw evaluation returns against env_steps and minutes, one line per run.

    A Markdown table with the final evaluations is written next to the picture.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, one per seed."""
    out: Path
    """The PNG to write; the table gets the same name with .md."""
    title: str = ""
    """Title. Default: environment and preset."""
    target: float | None = None
    """Draw a horizontal line at this return (475: CartPole counts as solved)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One line of ``evaluations.jsonl``."""

    returns: tuple[float, ...]  # of its episodes
    env_steps: int
    train_steps: int
    minutes: float  # since the run began
    is_final: bool

    @property
    def mean(self) -> float:
        """Mean return over the episodes."""
        return float(np.mean(self.returns))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run folder says."""

    label: str  # environment and preset
    seed: int
    evaluations: tuple[Evaluation, ...]  # at least one, in the order of env_steps and time

    @property
    def last(self) -> Evaluation:
        """The final evaluation, or the newest of a run that has none."""
        return next((e for e in self.evaluations if e.is_final), self.evaluations[-1])


def write_curves(command: CurvesCommand) -> None:
    """Print the table, then write it and the picture.

    Raises:
        ValueError: no run, a folder without evaluations, different tasks, a name that is no PNG or
            cannot be written to.
    """
    if not command.runs or command.out.suffix != ".png":
        got = f"{len(command.runs)} runs and --out {command.out}"
        raise ValueError(f"got {got}, wanted at least one run and a .png")
    runs = sorted((read_run(path) for path in command.runs), key=lambda run: run.seed)
    labels = sorted({run.label for run in runs})
    if len(labels) > 1:
        raise ValueError(f"got runs of {' and '.join(labels)}, wanted one task: means would mix")
    text, table = markdown_table(runs), command.out.with_suffix(".md")
    print(text, flush=True)
    figure = draw(runs, title=command.title or runs[0].label, target=command.target)
    try:
        command.out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(command.out, dpi=_DPI)
        size_bytes = command.out.stat().st_size
        if size_bytes > _MAX_BYTES:
            raise ValueError(f"{command.out}: got {size_bytes} bytes, wanted at most {_MAX_BYTES}")
        table.write_text(text)
    except OSError as error:
        where = error.filename or command.out
        raise ValueError(f"--out: cannot write {where} ({error.strerror})") from error
    print(f"wrote {command.out} ({size_bytes / 1000:.0f} kB) and {table}")


def read_run(directory: Path) -> Run:
    """Read one run folder; a line that is cut short is left out."""
    try:
        config = json.loads((directory / "config.json").read_text())["config"]
        lines = read_lines(directory / "evaluations.jsonl", is_written=True)
        evaluations = [_evaluation(line) for line in lines]
        label = f"{config['env']['id']} ({config['preset']})"
        seed = int(config["seed"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{directory}: not a run with evaluations: {reason}") from error
    if not evaluations:
        raise ValueError(f"{directory}: got no evaluation, wanted at least one")
    evaluations.sort(key=lambda e: (e.env_steps, e.minutes))
    return Run(label=label, seed=seed, evaluations=tuple(evaluations))


def _evaluation(values: Mapping[str, Any]) -> Evaluation:
    returns = tuple(float(episode) for episode in values["returns"])
    if not returns:
        raise ValueError("an evaluation without episodes")
    return Evaluation(
        returns=returns,
        env_steps=int(values["env_steps"]),
        train_steps=int(values["train_steps"]),
        minutes=float(values["wall_s"]) / 60.0,
        is_final=bool(values["is_final"]),
    )


def on_common_points(curves: Sequence[tuple[F64, F64]]) -> tuple[F64, F64]:
    """Return points x [P] and the curves' values there [N, P], over the x that all curves cover.

    Evaluations of different seeds never fall on the same x, so each curve is interpolated linearly
    at every curve's points. Empty where the curves have nothing in common.
    """
    first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    points = np.unique(np.concatenate([x for x, _ in curves]))
    points = points[(points >= first) & (points <= last)]
    return points, np.array([np.interp(points, x, y) for x, y in curves])


def draw(runs: Sequence[Run], *, title: str, target: float | None) -> Figure:
    """Return the figure: returns against env_steps on the left, against minutes on the right."""
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, name, label in (
        (left, "env_steps", "env_steps"),
        (right, "minutes", "minutes on the wall"),
    ):
        _draw_panel(axes, runs, name, target)
        axes.set_xlabel(label)
    left.set_ylabel("evaluation return")
    left.legend(frameon=False, fontsize="small", loc="best")
    figure.suptitle(title)
    return figure


def _draw_panel(axes: Axes, runs: Sequence[Run], name: str, target: float | None) -> None:
    """Draw each run thin with its episodes' 10th to 90th percentile, and the mean of runs bold."""
    curves = []
    for index, run in enumerate(runs):
        color = _COLORS[index % len(_COLORS)]
        x = np.array([getattr(e, name) for e in run.evaluations], np.float64)
        y = np.array([e.mean for e in run.evaluations])
        low, high = np.transpose([np.percentile(e.returns, (10, 90)) for e in run.evaluations])
        axes.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)
        axes.plot(x, y, color=color, linewidth=1.0, label=f"seed {run.seed}")
        if run.last.is_final:
            final = (getattr(run.last, name), run.last.mean)
            axes.plot(*final, "D", color=color, markersize=6, markeredgecolor="white", zorder=4)
        curves.append((x, y))
    if len(runs) > 1:
        points, values = on_common_points(curves)
        axes.plot(points, values.mean(0), color="black", linewidth=2.2, label="mean", zorder=3)
    if any(run.last.is_final for run in runs):
        axes.plot([], [], "D", color="gray", markersize=6, label="final evaluation")
    if target is not None:
        axes.axhline(target, color="gray", linewidth=1.0, linestyle="--", label=f"{target:g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def markdown_table(runs: Sequence[Run]) -> str:
    """Return one line per run: its final evaluation, or its newest, which is then said."""
    lines = [
        "| seed | final mean return | episodes | env_steps | train_steps | minutes |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        last = run.last
        mean = f"{last.mean:.1f}" + ("" if last.is_final else " (newest, not final)")
        cells = (run.seed, mean, len(last.returns), last.env_steps, last.train_steps)
        lines.append(f"| {' | '.join(map(str, cells))} | {last.minutes:.1f} |")
    return "\n".join(lines) + "\n"

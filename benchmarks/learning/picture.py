"""The picture: one panel per task with its baselines, and one with the variants' final returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, MaxNLocator

from benchmarks.baselines.curves import LEVELS, LearningCurve, by_algorithm
from benchmarks.baselines.drawing import COLORS, draw_curves, legend_lines
from benchmarks.learning.cells import FULL, TASKS, VARIANTS
from benchmarks.learning.intervals import CONFIDENCE, mean_interval
from benchmarks.learning.results import (
    BASELINES,
    Result,
    baseline_return,
    return_curve,
    select,
)

_AGENT = "#4477aa"
_COLORS = {"prior": "#ee7733", "random": "#777777"}
_NAMES = {"prior": "trained network without search", "random": "uniformly random actions"}
_STYLES: dict[str, Literal["--", ":"]] = {"prior": "--", "random": ":"}
_BAND = 0.18
_PANEL_INCHES = (4.6, 2.7)
_ROW_INCHES = 0.34  # of a variant


def draw(results: Sequence[Result], *, plain: Sequence[LearningCurve], variant_task: str) -> Figure:
    """Return the figure: a task a row, over env_steps and over CPU-seconds, then the variants.

    Args:
        results: at least one full cell.
        plain: curves of plain DQN, PPO and the like; those of other environments are left out.
        variant_task: the task whose variants are shown.
    """
    tasks = [task for task in TASKS if select(results, task)]
    variants = [v for v in (FULL, *VARIANTS) if select(results, variant_task, v)]
    has_variants = len(variants) > 1
    heights = [len(tasks) * _PANEL_INCHES[1] + 0.7]
    if has_variants:
        heights.append(len(variants) * _ROW_INCHES + 1.0)
    figure = Figure(figsize=(2 * _PANEL_INCHES[0], sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    rows = parts[0].subplots(len(tasks), 2, sharey="row", squeeze=False)
    shown: dict[str, None] = {}
    for (left, right), task in zip(rows, tasks, strict=True):
        chosen = select(results, task)
        config = chosen[0].cell.config
        methods = by_algorithm(plain, config.env.id, config.budget.env_steps)
        methods = {name: of for name, of in methods.items() if name not in LEVELS}
        _draw_task(left, chosen)
        draw_curves(left, methods, "env_steps")
        _draw_cost(right, chosen, methods)
        shown |= dict.fromkeys(methods)
    parts[0].legend(
        handles=[*_legend(), *legend_lines([*shown])],
        loc="outside upper center",
        ncols=2,
        frameon=False,
    )
    if has_variants:
        groups = [(variant, select(results, variant_task, variant)) for variant in variants]
        pair = parts[1].subplots(1, 2, sharey=True)
        _draw_variants(pair[0], groups, lambda result: result.run.last.mean)
        _draw_variants(pair[1], groups, lambda result: result.mean_over_training)
        pair[0].set_xlabel("return of the final evaluation")
        pair[1].set_xlabel("mean over training")
        env_id = groups[0][1][0].cell.config.env.id
        parts[1].suptitle(f"{env_id}, one part left out (dot: mean; stroke: a seed)", size="medium")
    return figure


def _draw_task(axes: Axes, results: Sequence[Result]) -> None:
    """Draw the mean of the seeds in bold with its band, each seed thin, baselines across."""
    for policy in BASELINES:
        level, color = baseline_return(results, policy), _COLORS[policy]
        axes.axhline(level.mean, color=color, linewidth=1.6, linestyle=_STYLES[policy])
        if level.high > level.low:
            axes.axhspan(level.low, level.high, color=color, alpha=_BAND, linewidth=0)
    for result in results:
        axes.plot(*result.curve, color=_AGENT, linewidth=0.6, alpha=0.55)
    points, means, lows, highs = return_curve(results)
    axes.fill_between(points, lows, highs, color=_AGENT, alpha=_BAND, linewidth=0)
    axes.plot(points, means, color=_AGENT, linewidth=2.4)
    config = results[0].cell.config
    axes.set_title(f"{config.env.id} (n = {len(results)})", fontsize="medium")
    axes.set_xlabel("env_steps")
    axes.set_ylabel("return")
    axes.set_xlim(0, config.budget.env_steps * 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _plain(axes)


def _draw_cost(
    axes: Axes, results: Sequence[Result], methods: Mapping[str, Sequence[LearningCurve]]
) -> None:
    """Draw the same returns over CPU-seconds; the panel says where the runs kept none."""
    curves = [result.learning_curve for result in results]
    draw_curves(axes, {FULL: curves, **methods}, "cpu_seconds", colors={FULL: _AGENT, **COLORS})
    if all(np.isnan(curve.cpu_seconds).all() for curve in curves):
        text = "these runs kept no CPU-seconds"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=_AGENT)
    axes.set_xlabel("CPU-seconds of training")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _plain(axes)


def _draw_variants(
    axes: Axes,
    groups: Sequence[tuple[str, Sequence[Result]]],
    measure: Callable[[Result], float],
) -> None:
    """Draw one line per variant, the full agent on top and its interval through all of them."""
    rows = np.arange(len(groups))[::-1]
    for row, (variant, results) in zip(rows, groups, strict=True):
        color = _AGENT if variant == FULL else "black"
        seeds = [measure(result) for result in results]
        level = mean_interval(seeds)
        if variant == FULL and level.high > level.low:
            axes.axvspan(level.low, level.high, color=_AGENT, alpha=_BAND, linewidth=0)
        axes.plot([level.low, level.high], [row, row], color=color, linewidth=2.0)
        axes.plot(seeds, np.full(len(seeds), row), "|", color=color, markersize=10)
        axes.plot(level.mean, row, "o", color=color, markersize=7, zorder=3)
    axes.set_yticks(rows, [f"{variant} (n = {len(results)})" for variant, results in groups])
    axes.set_ylim(-0.7, len(groups) - 0.3)
    axes.margins(x=0.08)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)


def _legend() -> list[Line2D | Patch]:
    lines = [
        Line2D([], [], color=_COLORS[p], linestyle=_STYLES[p], linewidth=1.6, label=_NAMES[p])
        for p in BASELINES
    ]
    return [
        Line2D([], [], color=_AGENT, linewidth=2.4, label="with search, mean of n seeds"),
        Line2D([], [], color=_AGENT, linewidth=0.6, label="with search, one seed"),
        Patch(color="#444444", alpha=_BAND, label=f"{CONFIDENCE:.0%} bootstrap interval"),
        *lines,
    ]

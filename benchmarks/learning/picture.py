"""The picture: each task's curves with its baselines, and the returns of its arms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, MaxNLocator

from benchmarks.baselines.curves import LEVELS, LearningCurve, by_algorithm
from benchmarks.baselines.drawing import COLORS, draw_curves, legend_lines
from benchmarks.learning.intervals import CONFIDENCE, mean_interval
from benchmarks.learning.opponents import curves_by_opponent
from benchmarks.learning.results import ALONE, Result, by_task, return_alone, return_curve

_AGENT = "#4477aa"
_COLORS = {"prior": "#ee7733", "random": "#777777"}
_NAMES = {"prior": "trained network without search", "random": "uniformly random actions"}
_STYLES: dict[str, Literal["--", ":"]] = {"prior": "--", "random": ":"}
_OPPONENT_COLORS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee")
_BAND = 0.18
_PANEL_INCHES = (4.6, 2.7)
_ROW_INCHES = 0.34  # of an arm


def draw(results: Sequence[Result], *, plain: Sequence[LearningCurve]) -> Figure:
    """Return the figure: a task a row, over env_steps and over CPU-seconds; below its arms.

    Args:
        results: at least one; of each task the first arm is drawn as curves.
        plain: curves of plain DQN, PPO and the like; those of other environments are left out.
    """
    tasks = by_task(results)
    compared = {env_id: arms for env_id, arms in tasks.items() if len(arms) > 1}
    heights = [len(tasks) * _PANEL_INCHES[1] + 0.7]
    heights += [len(arms) * _ROW_INCHES + 1.0 for arms in compared.values()]
    matched = {
        env_id: curves_by_opponent(next(iter(arms.values()))) for env_id, arms in tasks.items()
    }
    matched = {env_id: curves for env_id, curves in matched.items() if curves}
    heights += [_PANEL_INCHES[1]] * bool(matched)
    figure = Figure(figsize=(2 * _PANEL_INCHES[0], sum(heights)), layout="constrained")
    top, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    rows = top.subplots(len(tasks), 2, sharey="row", squeeze=False)
    shown: dict[str, None] = {}
    for (left, right), arms in zip(rows, tasks.values(), strict=True):
        chosen = next(iter(arms.values()))
        config = chosen[0].config
        methods = by_algorithm(plain, config.env.id, config.budget.env_steps)
        methods = {name: of for name, of in methods.items() if name not in LEVELS}
        _draw_task(left, chosen)
        draw_curves(left, methods, "env_steps")
        _draw_cost(right, chosen, methods)
        shown |= dict.fromkeys(methods)
    top.legend(
        handles=[*_legend(results), *legend_lines([*shown])],
        loc="outside upper center",
        ncols=2,
        frameon=False,
    )
    if matched:
        _draw_shares(below.pop(), matched)
    for part, (env_id, arms) in zip(below, compared.items(), strict=True):
        pair = part.subplots(1, 2, sharey=True)
        _draw_arms(pair[0], arms, lambda result: result.last.mean)
        _draw_arms(pair[1], arms, lambda result: result.mean_over_training)
        pair[0].set_xlabel("return of the final evaluation")
        pair[1].set_xlabel("mean over training")
        part.suptitle(f"{env_id}, by arm (dot: mean; stroke: a seed)", size="medium")
    return figure


def _draw_task(axes: Axes, results: Sequence[Result]) -> None:
    """Draw the mean of the seeds in bold with its band, each seed thin, baselines across."""
    for policy in ALONE:
        level, color = return_alone(results, policy), _COLORS[policy]
        axes.axhline(level.mean, color=color, linewidth=1.6, linestyle=_STYLES[policy])
        if level.high > level.low:
            axes.axhspan(level.low, level.high, color=color, alpha=_BAND, linewidth=0)
    for result in results:
        axes.plot(*result.curve, color=_AGENT, linewidth=0.6, alpha=0.55)
    points, means, lows, highs = return_curve(results)
    axes.fill_between(points, lows, highs, color=_AGENT, alpha=_BAND, linewidth=0)
    axes.plot(points, means, color=_AGENT, linewidth=2.4)
    config = results[0].config
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
    arm = results[0].arm
    draw_curves(axes, {arm: curves, **methods}, "cpu_seconds", colors={arm: _AGENT, **COLORS})
    if all(np.isnan(curve.cpu_seconds).all() for curve in curves):
        text = "these runs kept no CPU-seconds"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=_AGENT)
    axes.set_xlabel("CPU-seconds of training")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _plain(axes)


def _draw_shares(part: SubFigure, matched: Mapping[str, Mapping[str, list[LearningCurve]]]) -> None:
    """Draw the share of points against each opponent, a panel for each game of two players."""
    panels = part.subplots(1, len(matched), sharey=True, squeeze=False)[0]
    for axes, (env_id, curves) in zip(panels, matched.items(), strict=True):
        named = {f"against {opponent}": of for opponent, of in curves.items()}
        colors = dict(zip(named, _OPPONENT_COLORS, strict=False))
        draw_curves(axes, named, "env_steps", colors=colors)
        lines = legend_lines([*named], colors=colors)
        axes.legend(handles=lines, frameon=False, fontsize="small")
        axes.set_title(f"{env_id}, by opponent", fontsize="medium")
        axes.set_xlabel("env_steps")
        axes.set_xlim(left=0)
        axes.set_ylim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        _plain(axes)
    panels[0].set_ylabel("share of points")


def _draw_arms(
    axes: Axes, arms: Mapping[str, Sequence[Result]], measure: Callable[[Result], float]
) -> None:
    """Draw one line per arm, the first on top and its interval through all of them."""
    rows = np.arange(len(arms))[::-1]
    for row, results in zip(rows, arms.values(), strict=True):
        is_first = row == rows[0]
        color = _AGENT if is_first else "black"
        seeds = [measure(result) for result in results]
        level = mean_interval(seeds)
        if is_first and level.high > level.low:
            axes.axvspan(level.low, level.high, color=_AGENT, alpha=_BAND, linewidth=0)
        axes.plot([level.low, level.high], [row, row], color=color, linewidth=2.0)
        axes.plot(seeds, np.full(len(seeds), row), "|", color=color, markersize=10)
        axes.plot(level.mean, row, "o", color=color, markersize=7, zorder=3)
    axes.set_yticks(rows, [f"{arm} (n = {len(results)})" for arm, results in arms.items()])
    axes.set_ylim(-0.7, len(arms) - 0.3)
    axes.margins(x=0.08)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)


def _legend(results: Sequence[Result]) -> list[Line2D | Patch]:
    lines = [
        Line2D([], [], color=_COLORS[p], linestyle=_STYLES[p], linewidth=1.6, label=_NAMES[p])
        for p in ALONE
    ]
    agent = "with search" if all(result.searches for result in results) else "agent"
    return [
        Line2D([], [], color=_AGENT, linewidth=2.4, label=f"{agent}, mean of n seeds"),
        Line2D([], [], color=_AGENT, linewidth=0.6, label=f"{agent}, one seed"),
        Patch(color="#444444", alpha=_BAND, label=f"{CONFIDENCE:.0%} bootstrap interval"),
        *lines,
    ]

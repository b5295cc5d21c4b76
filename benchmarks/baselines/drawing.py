"""Curves of baselines in a panel: mean over seeds with its band, the same look in every picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from benchmarks.baselines.curves import LEVELS, LearningCurve, on_common_points
from benchmarks.learning.intervals import mean_band, mean_interval
from efficientzero.schema import F64

XAxis = Literal["env_steps", "cpu_seconds"]

NAMES = {
    "dqn": "DQN",
    "ppo": "PPO",
    "sac": "SAC",
    "random": "random play",
    "random-legal": "random play of legal actions",
}
COLORS = {
    "dqn": "#cc3311",
    "ppo": "#228833",
    "sac": "#aa3377",
    "random": "#777777",
    "random-legal": "#bbbbbb",
}
_LATER_COLORS = ("#ee7733", "#bbbb22", "#33bbbb")
_BAND = 0.15


def draw_curves(
    axes: Axes,
    methods: Mapping[str, Sequence[LearningCurve]],
    x: XAxis,
    *,
    colors: Mapping[str, str] = COLORS,
    width: float = 1.6,
) -> None:
    """Draw each method's mean over seeds; methods that do not learn as a dotted level.

    Args:
        axes: the panel.
        methods: curves by method.
        x: what they are drawn over; a curve whose CPU-seconds are not known is left out there.
        colors: by method.
        width: of the lines.
    """
    for method, curves in methods.items():
        color = _color(method, colors)
        if method in LEVELS:
            level = mean_interval([curve.last_return for curve in curves])
            axes.axhline(level.mean, color=color, linewidth=width, linestyle=":")
            continue
        lines = [line for curve in curves if (line := _known(curve, x))[0].size]
        if not lines:
            continue
        points, values = on_common_points(lines)
        if not points.size:  # no x is covered by all: the seeds' ends
            ends = np.array([(at[-1], returns[-1]) for at, returns in lines])
            axes.plot(*ends.T, color=color, linewidth=0, marker="o")
            continue
        means, lows, highs = mean_band(values)
        axes.fill_between(points, lows, highs, color=color, alpha=_BAND, linewidth=0)
        marker = "o" if len(points) == 1 else ""
        axes.plot(points, means, color=color, linewidth=width, marker=marker)


def legend_lines(
    methods: Sequence[str], *, colors: Mapping[str, str] = COLORS, width: float = 1.6
) -> list[Line2D]:
    """Return the methods' entries of the legend."""
    return [
        Line2D(
            [],
            [],
            color=_color(method, colors),
            linewidth=width,
            linestyle=":" if method in LEVELS else "-",
            label=NAMES.get(method, method),
        )
        for method in methods
    ]


def _known(curve: LearningCurve, x: XAxis) -> tuple[F64, F64]:
    at: F64 = getattr(curve, x)
    known = ~np.isnan(at)
    return at[known], curve.returns[known]


def _color(method: str, colors: Mapping[str, str]) -> str:
    return colors.get(method, _LATER_COLORS[sum(method.encode()) % len(_LATER_COLORS)])

"""The picture of actor-count scaling: speed, waiting, ages, returns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from deploy.results.scaling import ROLES, ScalingPoint

_COLORS = {"actor": "#4477aa", "reanalyzer": "#ee6677", "learner": "#228833"}
_DPI = 110


def draw_scaling(points: Sequence[ScalingPoint], *, title: str, out: Path) -> None:
    """Write the picture of points with ascending numbers of actors."""
    figure = Figure(figsize=(9.5, 7.0), layout="constrained")
    (speed, waits), (ages, returns) = figure.subplots(2, 2)
    _draw_speed(speed, points)
    _draw_waits(waits, points)
    _draw_ages(ages, points)
    _draw_returns(returns, points)
    for axes in (speed, waits, ages):
        axes.set_xscale("log", base=2)
        axes.set_xticks([point.actors for point in points])
        axes.set_xticklabels([str(point.actors) for point in points])
        axes.minorticks_off()
        axes.set_xlabel("actors")
    for axes in (speed, waits, ages, returns):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize="small")
    figure.suptitle(title)
    figure.savefig(out, dpi=_DPI)


def _draw_speed(axes: Axes, points: Sequence[ScalingPoint]) -> None:
    actors = [point.actors for point in points]
    ideal = [points[0].env_steps_per_s * count / actors[0] for count in actors]
    axes.plot(actors, ideal, "--", color="gray", linewidth=1.0, label="in proportion")
    rates = [point.env_steps_per_s for point in points]
    axes.plot(actors, rates, "o-", color="black", label="measured")
    for point in points:
        place = (point.actors, point.env_steps_per_s)
        axes.annotate(
            f"{point.efficiency:.0%}",
            place,
            xytext=(0, -14),
            textcoords="offset points",
            ha="center",
            fontsize="small",
        )
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.12, y=0.18)
    axes.set_title("env_steps/s; parallel efficiency")


def _draw_waits(axes: Axes, points: Sequence[ScalingPoint]) -> None:
    for role in ROLES:
        shares = [100.0 * point.wait_shares[role] for point in points]
        axes.plot([p.actors for p in points], shares, "o-", color=_COLORS[role], label=role)
    axes.set_ylim(0, 105)
    axes.set_title("share of time spent waiting, %")


def _draw_ages(axes: Axes, points: Sequence[ScalingPoint]) -> None:
    actors = [point.actors for point in points]
    axes.plot(actors, [p.weight_age for p in points], "o-", color="#aa3377", label="weights")
    axes.plot(actors, [p.target_age for p in points], "o-", color="#ccbb44", label="targets")
    axes.set_ylim(bottom=0)
    axes.set_title("mean age of what is trained on, train_steps")


def _draw_returns(axes: Axes, points: Sequence[ScalingPoint]) -> None:
    colors = colormaps["viridis"]
    for number, point in enumerate(points):
        if point.curve:
            x, y = zip(*point.curve, strict=True)
            color = colors(0.9 * number / max(1, len(points) - 1))
            label = f"{point.actors} actor{'s' * (point.actors > 1)}"
            axes.plot(x, y, "o-", markersize=3, color=color, label=label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("env_steps")
    axes.set_title("evaluation return at equal env_steps")

"""The report's figures. Each takes numbers and returns a matplotlib figure; none computes them.

Figures are small panels that the page puts side by side where there is room; the legend is the
page's own, so that labels of any length fit a screen of any width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from deploy.report.estimates import Estimate
from efficientzero.schema import F64

COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")
DASHES = ("", "6 3", "2 2")
"""Of lines, as SVG writes them: one for each round of the colors."""
_PANEL, _WIDE_PANEL = 3.5, 5.0
"""Widths in inches; the page shows 96 pixels an inch."""
_PANEL_HEIGHT = 2.4
_LABEL_LENGTH, _MOST_LABEL_LINES = 24, 3
_THOUSANDS = FuncFormatter(lambda x, _: f"{x / 1e3:g}k" if abs(x) >= 1e3 else f"{x:g}")  # noqa: PLR2004
_WAIT_COLOR, _OTHER_COLOR = "#d9d9d9", "#f2f2f2"

Curve = tuple[F64, F64, F64 | None, F64 | None]
"""x, mean, low, high; the last two None without an interval."""


def color_of(method: str, methods: Sequence[str]) -> str:
    """Return the method's color, the same in every figure."""
    return COLORS[methods.index(method) % len(COLORS)]


def dash_of(method: str, methods: Sequence[str]) -> str:
    """Return the method's dashes, which distinguish those of one color."""
    return DASHES[methods.index(method) // len(COLORS) % len(DASHES)]


def wrapped(name: str, length: int = _LABEL_LENGTH) -> str:
    """Return a method's name in lines of about ``length``, broken where its parts are joined."""
    lines = [""]
    for part in name.split("_"):
        joined = f"{lines[-1]}_{part}" if lines[-1] else part
        if lines[-1] and len(joined) > length:
            lines += [part]
        else:
            lines[-1] = joined
    return "_\n".join(lines)


def _label(method: str) -> str:
    """Return a method's label next to a bar; the page's legend has all of it."""
    lines = wrapped(method).split("\n")
    return "\n".join(lines[:_MOST_LABEL_LINES]) + "..." * (len(lines) > _MOST_LABEL_LINES)


def _label_height(methods: Sequence[str]) -> float:
    """Return the inches a method's row needs for its label."""
    most_lines = max(_label(method).count("\n") + 1 for method in methods)
    return max(0.3, 0.16 * most_lines)


def curves(
    title: str, x_label: str, of_methods: Mapping[str, Curve], methods: Sequence[str]
) -> Figure:
    """Draw a line a method, with its interval if it has one."""
    figure = Figure(figsize=(_PANEL, _PANEL_HEIGHT), layout="constrained")
    place = figure.subplots()
    for method, (x, mean, low, high) in of_methods.items():
        color, dashes = color_of(method, methods), dash_of(method, methods)
        if low is not None and high is not None:
            place.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
        (line,) = place.plot(x, mean, color=color, marker="o" if len(x) == 1 else "", linewidth=1.6)
        if dashes:
            line.set_dashes([float(length) / 2 for length in dashes.split()])
    figure.suptitle(title, fontsize="medium")
    place.set_xlabel(x_label, fontsize="small")
    place.xaxis.set_major_locator(MaxNLocator(4))
    place.xaxis.set_major_formatter(_THOUSANDS)
    place.yaxis.set_major_formatter(_THOUSANDS)
    place.tick_params(labelsize="small")
    _plain(place)
    return figure


def intervals(title: str, estimates: Mapping[str, Estimate], methods: Sequence[str]) -> Figure:
    """Draw an interval a method."""
    height = _label_height(methods) * len(methods) + 0.8
    figure = Figure(figsize=(_PANEL, height), layout="constrained")
    place = figure.subplots()
    for y, method in enumerate(methods):
        _interval(place, y, estimates[method], color_of(method, methods))
    place.set_ylim(len(methods) - 0.4, -0.6)
    place.set_yticks(range(len(methods)), map(_label, methods), fontsize="small")
    place.margins(x=0.08)
    figure.suptitle(title, fontsize="medium")
    place.xaxis.set_major_locator(MaxNLocator(3))
    place.tick_params(labelsize="small")
    _plain(place)
    return figure


def improvements(
    estimates: Mapping[str, Estimate], methods: Sequence[str], baseline: str
) -> Figure:
    """Draw how probably each method beats ``baseline``."""
    others = [method for method in methods if method in estimates]
    height = _label_height(others) * len(others) + 1.1
    figure = Figure(figsize=(_PANEL, height), layout="constrained")
    place = figure.subplots()
    for y, method in enumerate(others):
        _interval(place, y, estimates[method], color_of(method, methods))
    place.axvline(0.5, color="black", linewidth=1.0, linestyle="--")
    place.set_xlim(0.0, 1.0)
    place.set_ylim(len(others) - 0.4, -0.6)
    place.set_yticks(range(len(others)), map(_label, others), fontsize="small")
    figure.suptitle("probability of improvement", fontsize="medium")
    place.set_xlabel(f"a run beats one of\n{_label(baseline)}", fontsize="small")
    place.tick_params(labelsize="small")
    _plain(place)
    return figure


def leverage(
    changes: Mapping[str, Mapping[str, float]], methods: Sequence[str], environments: Sequence[str]
) -> Figure:
    """Draw by how much each method's mean changes without each environment."""
    height = (0.09 * len(methods) + 0.16) * len(environments) + 1.2
    figure = Figure(figsize=(_WIDE_PANEL, height), layout="constrained")
    place = figure.subplots()
    thick = 0.8 / len(methods)
    for i, method in enumerate(methods):
        y = np.arange(len(environments)) + (i - (len(methods) - 1) / 2) * thick
        widths = [changes[method][env] for env in environments]
        place.barh(y, widths, thick, color=color_of(method, methods), label=method)
    place.axvline(0.0, color="black", linewidth=0.8)
    place.set_ylim(len(environments) - 0.4, -0.6)
    place.set_yticks(range(len(environments)), environments, fontsize="small")
    place.set_xlabel("change of the mean without this environment")
    _plain(place)
    return figure


def time_breakdown(roles: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Draw a bar a role: working sections in colors, waiting gray, the rest pale."""
    figure = Figure(figsize=(_WIDE_PANEL, 0.45 * len(roles) + 1.1), layout="constrained")
    place = figure.subplots()
    for y, sections in enumerate(roles.values()):
        left, working = 0.0, 0
        for section, share in _in_order(sections):
            if section.startswith("wait_"):
                color = _WAIT_COLOR
            elif section == "other":
                color = _OTHER_COLOR
            else:
                color, working = COLORS[working % (len(COLORS) - 1)], working + 1
            place.barh(y, share, 0.72, left=left, color=color, edgecolor="white", linewidth=0.6)
            _name_section(place, y, left, share, section)
            left += share
    place.set_xlim(0.0, 1.0)
    place.set_ylim(len(roles) - 0.5, -0.5)
    place.set_yticks(range(len(roles)), list(roles))
    place.xaxis.set_major_formatter(PercentFormatter(1.0))
    place.set_xlabel("share of wall time")
    figure.suptitle(wrapped(title, 60), fontsize="medium")
    _plain(place)
    place.grid(visible=False)
    return figure


def _in_order(sections: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return work first, then waits, then the rest; the largest first."""

    def rank(item: tuple[str, float]) -> tuple[int, float]:
        section, share = item
        return (2 if section == "other" else int(section.startswith("wait_")), -share)

    return sorted(sections.items(), key=rank)


def _name_section(place: Axes, y: int, left: float, share: float, section: str) -> None:
    """Write the section's name where the bar has room for it."""
    room_per_letter = 0.019
    if share >= room_per_letter * len(section):
        is_light = section == "other" or section.startswith("wait_")
        place.text(
            left + share / 2,
            y,
            section.replace("_", " "),
            ha="center",
            va="center",
            fontsize="x-small",
            color="black" if is_light else "white",
        )


def _interval(place: Axes, y: int, estimate: Estimate, color: str) -> None:
    place.use_sticky_edges = False  # a bar must not lie on the axis
    if estimate.low is not None and estimate.high is not None:
        width = estimate.high - estimate.low
        place.barh(y, width, 0.5, left=estimate.low, color=color, alpha=0.6)
    else:
        place.plot([estimate.value], [y], marker="o", color=color)
    place.vlines(estimate.value, y - 0.3, y + 0.3, color="black", linewidth=1.6)


def _plain(place: Axes) -> None:
    place.spines[["top", "right"]].set_visible(False)
    place.grid(alpha=0.25)
    place.set_axisbelow(True)

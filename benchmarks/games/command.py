"""The command ``games``: the page of an ablate grid over games, beside its baselines."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

import tyro
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from benchmarks.baselines.command import AlgorithmName
from benchmarks.baselines.curves import LearningCurve, by_algorithm, write_curves
from benchmarks.baselines.drawing import COLORS, draw_curves, legend_lines
from benchmarks.games.collect import Collection, collect
from benchmarks.games.page import make_page
from benchmarks.games.scores import RANDOM
from benchmarks.grid_cells import AGENT, read_cells
from efficientzero.config import Config

_DPI = 100
_COLUMNS = 3
_PANEL_INCHES = (3.4, 2.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class GamesCommand:
    """Write the page of a grid over games from the cells that have finished, beside baselines.

    Runs nothing: `launch.py ablate GRID` trains the cells, `python -m benchmarks baselines --grid
    GRID` the baselines. What neither has finished yet is listed on the page.
    """

    grid: tyro.conf.Positional[Path]
    """The grid file of `launch.py ablate`."""
    runs_dir: Path = Path("runs")
    """Where the cells' run folders lie."""
    baselines: Path = Path("runs/baselines")
    """What `python -m benchmarks baselines --out` wrote."""
    algorithms: tuple[AlgorithmName, ...] = get_args(AlgorithmName)
    """Baselines to show."""
    reference: AlgorithmName = "dqn"
    """Whose mean return is 1 in normalised scores; random play's is 0."""
    overrides: tuple[str, ...] = ()
    """What `launch.py ablate` was given beside the grid, without dashes: budget.env-steps=1000."""
    out: Annotated[Path, tyro.conf.arg(metavar="PAGE.md")]
    """The page; the picture gets the same name with .png, the points of all seeds with .csv."""


def write_games(command: GamesCommand, arguments: Sequence[str]) -> int:
    """Write page, picture and CSV; return 0.

    Args:
        command: what to do.
        arguments: the command line, for the page.

    Raises:
        ValueError: a grid that makes no sense, or files that cannot be written.
    """
    if command.out.suffix != ".md":
        raise ValueError(f"--out: got {command.out}, wanted a .md")
    if command.reference == RANDOM:
        raise ValueError(f"--reference: got {RANDOM}, wanted another one: it is 0 already")
    cells = read_cells(command.grid, command.overrides)
    games = {cell.config.env.id: cell.config for cell in cells}
    found = collect(
        cells,
        runs_dir=command.runs_dir,
        baselines=command.baselines,
        algorithms=command.algorithms,
    )
    picture, points = command.out.with_suffix(".png"), command.out.with_suffix(".csv")
    page = make_page(
        found,
        list(games.values()),
        reference=command.reference,
        title=command.grid.stem,
        commands=_commands(command, arguments),
        files=(picture, points),
    )
    try:
        command.out.parent.mkdir(parents=True, exist_ok=True)
        write_curves(points, found.curves)
        if found.curves:
            draw(found.curves, list(games.values())).savefig(picture, dpi=_DPI)
        command.out.write_text(page)
    except OSError as error:
        where = error.filename or command.out
        raise ValueError(f"--out: cannot write {where} ({error.strerror})") from error
    _report(found, command.out)
    return 0


def draw(curves: Sequence[LearningCurve], games: Sequence[Config]) -> Figure:
    """Return the figure: a panel for each game, return against env_steps."""
    rows = -(-len(games) // _COLUMNS)
    size = (_COLUMNS * _PANEL_INCHES[0], rows * _PANEL_INCHES[1] + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    colors = {AGENT: "#4477aa", **COLORS}
    for panel, game in zip(panels, games, strict=False):
        methods = by_algorithm(curves, game.env.id, game.budget.env_steps)
        draw_curves(panel, methods, "env_steps", colors=colors)
        panel.set_title(game.env.id, fontsize="medium")
        panel.set_xlim(0, game.budget.env_steps * 1.03)
        panel.set_xlabel("env_steps")
        panel.set_ylabel("return")
        panel.xaxis.set_major_locator(MaxNLocator(5))
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.2)
    for panel in panels[len(games) :]:
        panel.set_visible(False)
    names = list(dict.fromkeys(curve.algorithm for curve in curves))
    lines = legend_lines(names, colors=colors)
    figure.legend(handles=lines, loc="outside upper center", ncols=len(lines), frameon=False)
    return figure


def _commands(command: GamesCommand, arguments: Sequence[str]) -> list[str]:
    options = [f"--{option}" for option in command.overrides]
    grid, runs_dir = str(command.grid), str(command.runs_dir)
    steps = [o.partition("=")[2] for o in command.overrides if o.startswith("budget.env-steps=")]
    baselines = ["baselines", "--grid", grid, *(["--env-steps", steps[-1]] if steps else [])]
    module = ("python", "-m", "benchmarks")
    return [
        shlex.join(("python", "launch.py", "ablate", grid, *options, "--runs-dir", runs_dir)),
        shlex.join((*module, *baselines, "--out", str(command.baselines))),
        shlex.join((*module, *arguments)),
    ]


def _report(found: Collection, page: Path) -> None:
    for line in found.missing:
        print(f"missing: {line}", file=sys.stderr)
    print(f"wrote {page}: {len(found.curves)} trainings, {len(found.missing)} missing")

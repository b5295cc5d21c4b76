"""The cells of a grid file of ``launch.py ablate``, for what is measured beside its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.ablate.__main__ import parse
from deploy.ablate.grid import ARM, ENV, SEED, Cell, expand

AGENT = "EfficientZero"


def read_cells(grid: Path, overrides: Sequence[str] = ()) -> list[Cell]:
    """Return the cells, seed by seed.

    Args:
        grid: the file.
        overrides: options of ``launch.py ablate`` for every cell, without their dashes.

    Raises:
        ConfigError: the grid makes no sense.
    """
    options, axes = parse([str(grid), *(f"--{option}" for option in overrides)])
    return sorted(expand(axes, options.config), key=lambda cell: cell.config.seed)


def method_of(cell: Cell) -> str:
    """Return what the cell's runs are called in a table: the agent, or its arm and values."""
    place = {axis: value for axis, value in cell.place.items() if axis not in (ENV, SEED)}
    words = [str(place.pop(ARM))] if ARM in place else []
    words += [f"{axis.rpartition('.')[2]}={value}" for axis, value in place.items()]
    return " ".join(words) or AGENT

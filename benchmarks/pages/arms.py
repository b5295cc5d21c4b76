"""The cells of a grid file, and the names of runs' arms in a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from deploy.ablate.grid import Cell, expand
from deploy.ablate.options import parse
from efficientzero.config import Config, experiment_values


def read_cells(grid: Path, overrides: Sequence[str] = ()) -> list[Cell]:
    """Return the cells, seed by seed.

    Args:
        grid: the grid file of ``launch.py ablate``.
        overrides: options of ``launch.py ablate`` for every cell, without their dashes.

    Raises:
        ConfigError: the grid makes no sense.
    """
    options, axes = parse([str(grid), *(f"--{option}" for option in overrides)])
    return sorted(expand(axes, options.config), key=lambda cell: cell.config.seed)


def arm_names(configs: Sequence[Config], single: str) -> list[str]:
    """Return a name for each config: that of its arm, then the values in which arms differ.

    Args:
        configs: of runs that are compared; seeds of one experiment get one name.
        single: the name of a single experiment that no study named.
    """
    by_arm = defaultdict(list)
    for config in configs:
        by_arm[config.tracking.arm].append(experiment_values(config))
    keys = dict.fromkeys(key for of in by_arm.values() for values in of for key in values)
    varied = [
        key
        for key in keys
        if any(len({repr(values.get(key)) for values in of}) > 1 for of in by_arm.values())
    ]
    names = []
    for config in configs:
        values, arm = experiment_values(config), config.tracking.arm
        words = [arm] * bool(arm) + [f"{key}={values.get(key)}" for key in varied]
        names.append(" ".join(words) or single)
    return names

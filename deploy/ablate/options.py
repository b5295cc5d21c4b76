"""The options of ``launch.py ablate``, on the command line and from a grid file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from deploy.ablate.grid import Grid, Mode, override, parse_vary, read_grid
from deploy.checks import FORKS, Fork
from deploy.launching import (
    COMPONENTS,
    REGISTRY,
    ShortOptions,
    join_kwargs,
    named_option,
    refuse_removed,
    with_compat,
    with_short_options,
)
from efficientzero.config import PRESETS, ConfigError, load_preset
from efficientzero.process.options import parse_options, wants_help, wants_version

_DESCRIPTION = f"""Run every combination of components, environments, values, actors and seeds.

Examples:

  python launch.py ablate --preset catch --components consistency value_prefix --seeds 0 1 2
  python launch.py ablate --preset atari-small --envs ALE/Pong-v5 ALE/Breakout-v5 --seeds 0 1
  python launch.py ablate --preset catch --actors 1 2 4                      actor-count scaling
  python launch.py ablate --preset catch --vary search.num_simulations=4,8   any field
  python launch.py ablate --frozen-replay runs/NAME --components consistency --seeds 0 1 2
                                                                             paired: the same data
  python launch.py ablate GRID.toml --jobs 4                                 a grid file
  python launch.py ablate GRID.toml --dry-run                                what would be run

Components: {", ".join(COMPONENTS)}. Presets: {", ".join(PRESETS)}; one must be named, here or in
the grid file, or a run to fork from, so that a grid means the same on every machine. Every field
below holds for all cells. Ctrl-C stops the running cells in order; the same command then goes on
with what has not finished. Exit codes: 0 all finished, 1 a cell failed, 2 wrong options,
128 + signal if stopped."""

PROG = "launch.py ablate"


@dataclass(frozen=True, kw_only=True)
class _GridOptions:
    """What to run."""

    grid: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="GRID.toml")] = None
    """A grid file; what the command line says wins."""
    components: tuple[str, ...] = ()
    """Components to ablate, by name."""
    mode: Mode = "leave-one-out"
    """leave-one-out: all but one component. add-one: one component alone."""
    envs: tuple[str, ...] = ()
    """Environments; --env names one. Default: the preset's."""
    seeds: tuple[int, ...] = ()
    """Seeds. Default: that of --seed."""
    actors: tuple[int, ...] = ()
    """Numbers of actor processes; more than one gets a table and a picture of the scaling."""
    vary: tuple[str, ...] = ()
    """FIELD=VALUE,VALUE: values of any field."""
    runs_dir: Path = Path("runs")
    """Where run folders lie."""
    jobs: int = 1
    """Cells that run at a time; they share CPUs, threads and GPUs."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the cells and exit."""
    emit_sweep: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the grid as a wandb sweep and exit."""
    emit_slurm: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the grid as a Slurm job array and exit; --jobs limits the tasks at a time."""
    cell: Annotated[str | None, tyro.conf.arg(metavar="WHICH")] = None
    """Run only this cell: its number, or its place on every axis as JSON."""
    fork_from: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Every cell begins with the replay of this run and plays on (see launch.py --help)."""
    frozen_replay: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Every cell trains on the replay of this run, without actors."""
    fork_weights: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With one of these two: take that run's weights and optimiser as well."""


@dataclass(frozen=True, kw_only=True)
class Options(ShortOptions, _GridOptions):
    """The command line."""


def parse(arguments: Sequence[str], fork: Fork | None = None) -> tuple[Options, Grid]:
    """Resolve defaults < preset, or what is forked from < grid file < command line.

    Raises:
        ConfigError: no preset, or something wrong in the grid file or in --vary.
    """
    path = next(iter(arguments), "")
    file = read_grid(Path(path)) if path and not path.startswith("-") else None
    preset = named_option(arguments, "--preset") or (file.preset if file else None)
    asks_only = wants_help(arguments) or wants_version(arguments)
    if preset is None and fork is None and not asks_only:
        raise ConfigError(f"--preset: got none, wanted one of {', '.join(PRESETS)}")
    base = load_preset(preset or PRESETS[0])
    if fork is not None:
        base = fork.base(base if preset else None)
    base = with_compat(arguments, base)
    given = Grid()
    if file is not None:
        base, given = override(base, file.base), file.grid
    lists = {f.name: getattr(given, f.name) for f in dataclasses.fields(Grid) if f.name != "vary"}
    refuse_removed(arguments, PROG)
    options: Options = parse_options(
        Options,
        join_kwargs(arguments),
        prog=PROG,
        description=_DESCRIPTION,
        default=Options(config=base, **lists),
        registry=REGISTRY,
    )
    if options.jobs < 1:
        raise ConfigError(f"--jobs: got {options.jobs}, wanted at least 1")
    options = dataclasses.replace(options, config=with_short_options(options))
    if options.env is not None:
        if named_option(arguments, "--envs") is not None:
            raise ConfigError("got both of --env and --envs, wanted one")
        options = dataclasses.replace(options, envs=())  # the grid file's, if it has any
    grid = Grid(
        **{name: getattr(options, name) for name in lists},
        vary={**given.vary, **dict(map(parse_vary, options.vary))},
    )
    return options, grid


def grid_arguments(
    options: Options, arguments: Sequence[str], fork: Fork | None = None
) -> list[str]:
    """Return the options that describe the grid, free of what to do with it and of the folder."""
    kept = list(arguments)
    for name in ("--dry-run", "--fork-weights"):
        kept = [argument for argument in kept if argument.replace("_", "-") != name]
    for name in ("--emit-sweep", "--emit-slurm", "--jobs", "--cell", "--runs-dir", *FORKS):
        kept = _without(name, kept)
    if options.grid is not None:
        kept[0] = str(options.grid.resolve())
    forked = fork.options if fork else []
    return [*kept, *forked, "--runs-dir", str(options.runs_dir.resolve())]


def _without(name: str, arguments: Sequence[str]) -> list[str]:
    """Leave out an option with its one value, in either way of writing it."""
    kept, is_value = [], False
    for argument in arguments:
        option, equals, _ = argument.partition("=")
        if is_value:
            is_value = False
        elif option.replace("_", "-") == name:
            is_value = not equals
        else:
            kept.append(argument)
    return kept

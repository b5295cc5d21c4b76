"""Run a grid: ``python launch.py ablate`` or ``python -m deploy.ablate``.

Expands components, environments, varied fields, numbers of actors and seeds into cells, checks all
of them, and runs each as a run of its own. Finished cells are recognised and skipped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from deploy.ablate.check import CheckedCell, CheckedGrid, check_cells, check_jobs_memory
from deploy.ablate.command import (
    Slot,
    choose_run_id,
    launch_command,
    slots,
    visible_gpus,
)
from deploy.ablate.compare import compare
from deploy.ablate.display import (
    GridConsole,
    make_console,
    plan_table,
    results_table,
    same_lines,
)
from deploy.ablate.emit import slurm_script, sweep_yaml
from deploy.ablate.grid import Cell, Grid, Mode, axes, expand, override, parse_vary, read_grid
from deploy.ablate.runner import GridRunner
from deploy.checks import (
    FORKS,
    Fork,
    PreflightError,
    check_installation,
    check_is_folder,
    check_runs_dir,
    fork_named,
)
from deploy.launching import (
    COMPONENTS,
    REGISTRY,
    ShortOptions,
    join_kwargs,
    refuse_removed,
    with_compat,
    with_short_options,
)
from deploy.results import own_command
from deploy.supervising import CHECKOUT, StopRequests
from efficientzero.config import (
    PRESETS,
    ConfigError,
    load_preset,
)
from efficientzero.process.options import (
    parse_options,
    wants_help,
    wants_version,
)

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

_PROG = "launch.py ablate"
_SIGNALLED = 128  # an exit code above it is this plus the signal's number


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


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        fork = fork_named(lambda name: _value_of(name, arguments))
        options, grid = parse(arguments, fork)
        check_is_folder(options.runs_dir)
        cells = expand(grid, options.config)
        checked = check_cells(cells, options.runs_dir, fork)
        return _act(options, grid, cells, checked, list(arguments))
    except (ConfigError, PreflightError) as error:
        print(f"{_PROG}: error: {error}", file=sys.stderr)
        return 2


def parse(arguments: Sequence[str], fork: Fork | None = None) -> tuple[Options, Grid]:
    """Resolve defaults < preset, or what is forked from < grid file < command line.

    Raises:
        ConfigError: no preset, or something wrong in the grid file or in --vary.
    """
    path = next(iter(arguments), "")
    file = read_grid(Path(path)) if path and not path.startswith("-") else None
    preset = _value_of("--preset", arguments) or (file.preset if file else None)
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
    refuse_removed(arguments, _PROG)
    options: Options = parse_options(
        Options,
        join_kwargs(arguments),
        prog=_PROG,
        description=_DESCRIPTION,
        default=Options(config=base, **lists),
        registry=REGISTRY,
    )
    if options.jobs < 1:
        raise ConfigError(f"--jobs: got {options.jobs}, wanted at least 1")
    options = dataclasses.replace(options, config=with_short_options(options))
    if options.env is not None:
        if _value_of("--envs", arguments) is not None:
            raise ConfigError("got both of --env and --envs, wanted one")
        options = dataclasses.replace(options, envs=())  # the grid file's, if it has any
    grid = Grid(
        **{name: getattr(options, name) for name in lists},
        vary={**given.vary, **dict(map(parse_vary, options.vary))},
    )
    return options, grid


def find_cell(cells: Sequence[Cell], which: str) -> Cell:
    """Return the cell with that number, or that place on every axis.

    Raises:
        ConfigError: there is none.
    """
    try:
        wanted = json.loads(which)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--cell: got {which!r}, wanted a number or JSON: {error}") from None
    for cell in cells:
        place = json.loads(json.dumps(dict(cell.place)))
        if wanted == (place if isinstance(wanted, dict) else cell.index):
            return cell
    axis_names = ", ".join(cells[0].place)
    raise ConfigError(
        f"--cell: got {which}, wanted 0 to {len(cells) - 1}, or a value of each of: {axis_names}"
    )


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


def _act(
    options: Options, grid: Grid, cells: Sequence[Cell], checked: CheckedGrid, argv: list[str]
) -> int:
    labels = {cell.index: cell.label for cell in cells}
    same = same_lines(labels, checked.same)
    if options.dry_run:
        make_console(sys.stdout).print(plan_table(checked))
        print(*same, sep="\n", end="\n" * bool(same))
        return 0
    if options.emit_sweep or options.emit_slurm:
        fork = checked.cells[0].fork
        _emit(options, grid, checked.cells, grid_arguments(options, argv, fork))
        return 0
    check_installation()
    check_runs_dir(options.runs_dir)
    if options.cell is not None:
        chosen = find_cell(cells, options.cell)
        index = checked.same.get(chosen.index, chosen.index)
        return _become(next(c for c in checked.cells if c.cell.index == index), options.runs_dir)
    exit_code = _run(options, checked, same)
    if exit_code > _SIGNALLED:
        print(f"stopped; what has not finished goes on with: {own_command('ablate', *argv)}")
    return exit_code


def _emit(
    options: Options, grid: Grid, cells: Sequence[CheckedCell], arguments: Sequence[str]
) -> None:
    texts: list[tuple[Path, str, tuple[str, ...]]] = []
    if options.emit_sweep:
        text = sweep_yaml(
            axes(grid, options.config), arguments=arguments, tracking=options.config.tracking
        )
        texts.append((options.emit_sweep, text, ("wandb", "sweep")))
    if options.emit_slurm:
        check_runs_dir(options.runs_dir)
        text = slurm_script(
            cells,
            arguments=arguments,
            jobs=options.jobs,
            checkout=CHECKOUT,
            folder=Path.cwd(),
            runs_dir=options.runs_dir.resolve(),
        )
        texts.append((options.emit_slurm, text, ("sbatch",)))
    for path, text, starter in texts:
        try:
            path.write_text(text)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
        print(f"wrote {path}; start it with: {shlex.join((*starter, str(path)))}")


def _become(checked: CheckedCell, runs_dir: Path) -> int:
    """Turn this process into the cell's launcher, so that signals reach it."""
    if checked.finished is not None:
        print(f"ablate | {checked.cell.label} has finished already: {checked.finished}")
        return 0
    slot = Slot(cpus=tuple(sorted(os.sched_getaffinity(0))))
    run_id = choose_run_id(checked, runs_dir)
    command = launch_command(checked, slot=slot, run_id=run_id, runs_dir=runs_dir)
    print(f"ablate | {shlex.join(command)}", flush=True)
    os.execv(command[0], command)


def _run(options: Options, checked: CheckedGrid, same: Sequence[str]) -> int:
    to_run = [cell for cell in checked.cells if cell.finished is None]
    jobs = min(options.jobs, max(1, len(to_run)))
    check_jobs_memory(to_run, jobs)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a closed terminal must not kill the cells
    requests = StopRequests()
    requests.install()
    with GridConsole(sys.stderr) as console:
        for line in same:
            console.note(line)
        runner = GridRunner(
            checked.cells,
            runs_dir=options.runs_dir,
            slots=slots(jobs, sorted(os.sched_getaffinity(0)), visible_gpus()),
            note=console.note,
            show=console.show,
        )
        exit_code = runner.run(requests)
    make_console(sys.stdout).print(results_table(runner.runs))
    for line in compare(runner.runs, options.runs_dir):
        print(line)
    return exit_code


def _value_of(name: str, arguments: Sequence[str]) -> str | None:
    for number, argument in enumerate(arguments):
        option, _, value = argument.partition("=")
        if option.replace("_", "-") == name:
            return value or "".join(arguments[number + 1 : number + 2])
    return None


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run a grid: ``python launch.py ablate`` or ``python -m deploy.ablate``.

Expands components, environments, varied fields, numbers of actors and seeds into cells, checks all
of them, and trains each as a separate run. Finished cells are recognised and skipped.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.ablate.check import CheckedCell, CheckedGrid, check_cells, check_jobs_memory
from deploy.ablate.command import Slot, choose_run_id, launch_command, slots
from deploy.ablate.compare import compare
from deploy.ablate.display import (
    GridConsole,
    make_console,
    plan_table,
    results_table,
    same_lines,
    unread_lines,
)
from deploy.ablate.emit import slurm_script, sweep_yaml
from deploy.ablate.grid import Cell, Grid, axes, expand
from deploy.ablate.options import PROG, Options, grid_arguments, parse
from deploy.ablate.runner import GridRunner
from deploy.checks import (
    PreflightError,
    check_installation,
    check_is_folder,
    check_runs_dir,
    fork_named,
    visible_gpus,
)
from deploy.launching import named_option
from deploy.results import own_command
from deploy.supervising import CHECKOUT, StopRequests
from efficientzero.config import ConfigError

_SIGNALLED = 128  # an exit code above it is this plus the signal's number


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        fork = fork_named(lambda name: named_option(arguments, name))
        options, grid = parse(arguments, fork)
        check_is_folder(options.runs_dir)
        cells = expand(grid, options.config)
        checked = check_cells(cells, options.runs_dir, fork)
        return _act(options, grid, cells, checked, list(arguments))
    except (ConfigError, PreflightError) as error:
        print(f"{PROG}: error: {error}", file=sys.stderr)
        return 2


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


def _act(
    options: Options, grid: Grid, cells: Sequence[Cell], checked: CheckedGrid, argv: list[str]
) -> int:
    labels = {cell.index: cell.label for cell in cells}
    notes = [*same_lines(labels, checked.same), *unread_lines(checked)]
    if options.dry_run:
        make_console(sys.stdout).print(plan_table(checked))
        print(*notes, sep="\n", end="\n" * bool(notes))
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
    exit_code = _run(options, checked, notes)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

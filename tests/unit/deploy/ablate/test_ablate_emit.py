"""A grid for others to run: the wandb sweep and the Slurm array, read by their programs."""

import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import launch
from deploy.ablate.__main__ import find_cell, main
from deploy.ablate.emit import cpus_wanted, index_ranges
from deploy.ablate.grid import expand
from deploy.ablate.options import parse
from efficientzero.config.preset_files import load_preset
from tests.support.cases.config_cases import changed
from tests.support.fakes import tiny_run

GRID = [
    *("--preset", "catch", "--components", "priority", "augmentation", "--seeds", "0", "1"),
    *("--vary", "actor.temperatures=[1.0, 0.5, 0.25],[2.0, 1.0, 0.5]"),
    *("agent.value_prefix=true,false", "--group-suffix", "a+b"),
]


@pytest.fixture(scope="module")
def emitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a folder")
    sweep, slurm = folder / "sweep.yaml", folder / "array.sh"
    places = ["--emit-sweep", str(sweep), "--emit-slurm", str(slurm), "--jobs", "3"]
    assert main([*GRID, *places, "--runs-dir", str(folder / "runs")]) == 0
    return sweep, slurm, folder / "runs"


def cells_of(arguments):
    options, grid = parse(arguments)
    return expand(grid, options.config)


@pytest.mark.slow
def test_sweep_runs_every_cell_once_through_wandbs_own_expansion(emitted):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load(emitted[0].read_text())
    assert (sweep["method"], sweep["program"]) == ("grid", "launch.py")
    assert (sweep["entity"], sweep["project"]) == ("stablegradients", "MonteCarloTreeSearch")
    axes = {name: parameter["values"] for name, parameter in sweep["parameters"].items()}
    command = create_sweep_command(sweep["command"])
    assert command[:4] == ["${env}", "${interpreter}", "${program}", "ablate"]
    cells = cells_of(command[4:-2])
    assert cells == cells_of(GRID)
    chosen = []
    for values in itertools.product(*axes.values()):
        told = {name: {"value": value} for name, value in zip(axes, values, strict=True)}
        (which,) = create_sweep_command_args({"args": told})["args_json"]
        chosen.append(find_cell(cells, which).index)
    assert sorted(chosen) == list(range(len(cells))) == list(range(3 * 2 * 2 * 2))


def test_slurm_script_is_sound_bash(emitted):
    subprocess.run(["bash", "-n", emitted[1]], check=True)
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.defpath}")
    assert shellcheck, "shellcheck is not installed; run: make setup"
    subprocess.run([shellcheck, str(emitted[1])], check=True)


def test_slurm_directives_name_the_cells_to_run_and_where_output_goes(emitted):
    lines = emitted[1].read_text().splitlines()
    directives = dict(
        line.removeprefix("#SBATCH --").split("=", 1) for line in lines if "#SBATCH" in line
    )
    # No augmentation in this preset: cells 16 to 23 are the same experiments as 0 to 7.
    assert directives["array"] == "0-15%3"
    assert directives["signal"] == "B:INT@180"
    assert directives["output"] == f'"{emitted[2]}/slurm-%A_%a.log"'
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    assert max(n for n, line in enumerate(lines) if "#SBATCH" in line) < first_command
    assert emitted[2].is_dir()


def test_slurm_task_starts_its_own_cell(emitted, tmp_path):
    script = emitted[1].read_text().replace(sys.executable, str(tmp_path / "python"))
    recorder = tmp_path / "python"
    recorder.write_text('#!/bin/bash\npwd; printf "%s\\0" "$@" > "$OUT"\n')
    recorder.chmod(0o755)
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": "7", "OUT": str(tmp_path / "out")}
    done = subprocess.run(
        ["bash"], input=script, text=True, env=environment, capture_output=True, check=True
    )
    assert Path(done.stdout.strip()) == Path.cwd()  # where relative paths of the grid begin
    told = (tmp_path / "out").read_text().split("\0")[:-1]
    assert told[:2] == [str(Path(launch.__file__).resolve()), "ablate"]
    assert told[-2:] == ["--cell", "7"]
    assert cells_of(told[2:-2]) == cells_of(GRID)


def test_file_that_cannot_be_written_is_one_line(capsys, tmp_path):
    assert main(["--preset", "catch", "--emit-sweep", str(tmp_path / "no" / "x.yaml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "x.yaml: cannot be written" in line


def test_ranges_of_indices():
    assert index_ranges([0]) == "0"
    assert index_ranges([0, 1, 2, 4, 6, 7]) == "0-2,4,6-7"


def test_cpus_are_those_of_workers_and_three_more():
    workers = {"cluster.num_actors": 4, "cluster.num_reanalyzers": 2, "search.num_threads": 2}
    assert cpus_wanted(changed(load_preset("catch"), workers)) == 15


def test_a_finished_cell_is_not_run_by_its_number_either(capsys, tmp_path):
    (cell,) = cells_of(["--preset", "catch"])
    folder = tmp_path / "run"
    tiny_run(folder, cell.config).save()
    (folder / "summary.json").write_text(json.dumps({"exit_code": 0}))
    assert main(["--preset", "catch", "--cell", "0", "--runs-dir", str(tmp_path)]) == 0
    assert f"has finished already: {folder}" in capsys.readouterr().out


def test_odd_folders_are_quoted_where_the_files_and_the_commands_name_them(tmp_path, capsys):
    folder = tmp_path / 'it\'s 100% $HOME; #1 "a"'
    folder.mkdir()
    sweep, slurm = folder / "sweep.yaml", folder / "array.sh"
    files = ["--emit-sweep", str(sweep), "--emit-slurm", str(slurm)]
    assert main(["--preset", "catch", *files, "--runs-dir", str(folder / "runs")]) == 0
    told = [line.partition("; start it with: ")[2] for line in capsys.readouterr().out.splitlines()]
    assert [shlex.split(command) for command in told] == [
        ["wandb", "sweep", str(sweep)],
        ["sbatch", str(slurm)],
    ]
    (output,) = [line for line in slurm.read_text().splitlines() if "--output=" in line]
    # Like a shell, sbatch knows quotes, backslashes in them, and comments; "%%" stands for "%".
    (option,) = shlex.split(output.removeprefix("#SBATCH"), comments=True)
    path = option.removeprefix("--output=").replace("%%", "%")
    assert path == str(folder / "runs" / "slurm-%A_%a.log")


def test_a_file_that_cannot_be_written_is_not_called_written(tmp_path, capsys):
    target = ["--emit-sweep", str(tmp_path / "no" / "sweep.yaml")]
    assert main(["--preset", "catch", *target, "--runs-dir", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "sweep.yaml: cannot be written (No such file" in told.err

"""The same grid for others to run: a wandb sweep, a Slurm job array.

Both start ``launch.py ablate ... --cell WHICH``, which runs one cell, or nothing if that one has
finished.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.ablate.check import CheckedCell
from efficientzero.config import Config, TrackingConfig

_PROCESSES_BESIDE_WORKERS = 3
"""Learner, replay, launcher; the evaluator sleeps most of the time."""


def sweep_yaml(
    axes: Mapping[str, Sequence[Any]], *, arguments: Sequence[str], tracking: TrackingConfig
) -> str:
    """Return the grid as a wandb sweep: one parameter for each axis, all combinations.

    Args:
        axes: name of each axis and its values.
        arguments: the options of ``launch.py ablate`` that describe the grid.
        tracking: entity and project of the sweep.
    """
    sweep = {
        "program": "launch.py",
        "method": "grid",
        "entity": tracking.entity,
        "project": tracking.project,
        "metric": {"name": "eval/return_mean", "goal": "maximize"},
        "parameters": {
            name: {"values": [_plain(value) for value in values]} for name, values in axes.items()
        },
        # As JSON: a flag per parameter would lose the types of switches and lists.
        "command": [
            *("${env}", "${interpreter}", "${program}", "ablate", *arguments),
            *("--cell", "${args_json}"),
        ],
    }
    text: str = yaml.safe_dump(sweep, sort_keys=False)
    return text


def slurm_script(
    cells: Sequence[CheckedCell],
    *,
    arguments: Sequence[str],
    jobs: int,
    checkout: Path,
    folder: Path,
    runs_dir: Path,
    python: str = sys.executable,
) -> str:
    """Return a script for ``sbatch``: an array with one task for each cell.

    Partition, time limit and GPUs are the cluster's own affair and go on sbatch's command line,
    which wins over the script.

    Args:
        cells: to run.
        arguments: the options of ``launch.py ablate`` that describe the grid.
        jobs: tasks at a time.
        checkout: the repository's root.
        folder: where the tasks work: relative paths in ``arguments`` and in PYTHONPATH begin there.
        runs_dir: where the tasks' output goes; it must exist when they start.
        python: the interpreter.
    """
    indices = index_ranges([cell.cell.index for cell in cells])
    cpus = max(cpus_wanted(cell.cell.config) for cell in cells)
    command = [python, str(checkout / "launch.py"), "ablate", *arguments, "--cell"]
    output = f"{str(runs_dir).replace('%', '%%')}/slurm-%A_%a.log"
    return f"""#!/bin/bash
# One task for each of {len(cells)} cells. Start it with, for example:
#   sbatch --time=24:00:00 --gres=gpu:1 THIS_FILE
# Started again, it runs what has not finished. INT comes three minutes before the time limit, so
# that a run can save.
#SBATCH --job-name=ablate
#SBATCH --array={indices}%{jobs}
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={cpus}
#SBATCH --signal=B:INT@180
#SBATCH --open-mode=append
#SBATCH --output={_sbatch_value(output)}

set -euo pipefail
cd {shlex.quote(str(folder))}
exec {shlex.join(command)} "$SLURM_ARRAY_TASK_ID"
"""


def index_ranges(indices: Sequence[int]) -> str:
    """Return ascending numbers as ``0-3,5,7-9``."""
    ranges: list[list[int]] = []
    for index in indices:
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ",".join(f"{a}-{b}" if a < b else str(a) for a, b in ranges)


def cpus_wanted(config: Config) -> int:
    """Return how many CPUs keep the processes of a run from waiting for each other."""
    cluster = config.cluster
    workers = cluster.num_actors + cluster.num_reanalyzers
    threads = max(cluster.threads_per_process, config.search.num_threads)
    return workers * threads + _PROCESSES_BESIDE_WORKERS


def _plain(value: Any) -> Any:  # noqa: ANN401  any TOML value
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _sbatch_value(text: str) -> str:
    """Quote where needed: sbatch has other rules than a shell.

    They know double quotes, backslashes before single characters, and ``#`` for a comment.
    """
    if re.fullmatch(r"[A-Za-z0-9_./%=+:,@-]*", text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'

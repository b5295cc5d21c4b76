"""Bytes of a tree and instructions of a simulation: numbers that no load on the machine disturbs.

Instructions are counted by callgrind in a C++ program without Python, built here on first use; the
same script is the regression test of the trees' speed in ctest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from benchmarks.measuring import Row
from efficientzero.config import AgentConfig
from mcts_cpp import SearchParams, TreeBatch

_Algorithm = Literal["puct", "gumbel"]

_MAX_BYTES = 2.0  # times those of the statistics
_STATISTICS_BYTES = 4 + 4 + 2 + 2
"""Per node and action: prior and Q f32, visits and child index i16, the least that hold them."""

_MAX_INSTRUCTIONS = 2500.0
_LIMITED = ("puct M=50 A=6", "gumbel M=50 A=6")
_SOURCE = Path(__file__).parents[2] / "mcts_cpp"
_BUILD = _SOURCE.parent / "build" / "mcts-instructions"
_TIMEOUT_S = 600.0
_CONFIGURE = (  # what count_instructions.py asks for: valgrind knows no AVX-512
    *("cmake", "-S", str(_SOURCE), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"),
    *("-DMCTS_NATIVE=OFF", "-DCMAKE_CXX_FLAGS=-march=x86-64-v3"),
    *("-DMCTS_BUILD_PYTHON=OFF", "-DMCTS_BUILD_TESTS=ON", "-B"),
)


def measure_bytes(*, num_simulations: int = 50, num_actions: int = 18) -> list[Row]:
    """Compare a tree's bytes with those of prior, Q, visits and child index of all its actions."""
    statistics = (num_simulations + 1) * num_actions * _STATISTICS_BYTES
    rows = []
    for algorithm in get_args(_Algorithm):
        params = SearchParams(discount=AgentConfig().discount, algorithm=algorithm)
        trees = TreeBatch(1, num_actions, num_simulations, params, np.zeros(1, np.uint64))
        rows.append(
            Row(
                name=f"bytes / statistics {algorithm} M={num_simulations} A={num_actions}",
                value=trees.bytes_per_tree / statistics,
                unit="x",
                must=_MAX_BYTES,
                note=f"{trees.bytes_per_tree} bytes a tree",
            )
        )
    return rows


def measure_instructions(build: Path = _BUILD) -> list[Row]:
    """Count instructions per root and simulation, or return why that is impossible here."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    missing = next(
        (x for x in ("valgrind", "cmake", "ninja") if not shutil.which(x, path=path)), ""
    )
    if missing:
        return _uncounted(f"{missing} not installed")
    try:
        _run([*_CONFIGURE, str(build)], path)
        _run(["cmake", "--build", str(build), "--target", "tree_cost"], path)
        script = _SOURCE / "tests" / "count_instructions.py"
        counts = _run([sys.executable, str(script), str(build / "tree_cost")], path)
    except (OSError, subprocess.SubprocessError) as error:
        return _uncounted(f"{error}; see cmake and valgrind in {build}")
    return rows_from_counts(counts.splitlines())


def rows_from_counts(lines: Iterable[str]) -> list[Row]:
    """Return a row for each line that ``count_instructions.py`` prints."""
    rows = []
    for line in lines:
        count = json.loads(line)
        must = _MAX_INSTRUCTIONS if count["name"] in _LIMITED else None
        name = f"instructions {count['name']}"
        rows.append(Row(name=name, value=count["value"], unit="", must=must))
    return rows


def _uncounted(note: str) -> list[Row]:
    return [
        Row(name=f"instructions {name}", value=None, unit="", must=_MAX_INSTRUCTIONS, note=note)
        for name in _LIMITED
    ]


def _run(command: list[str], path: str) -> str:
    """Return a command's output; exit code 1 of the counts means a missed limit, no failure."""
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode and not done.stdout.startswith('{"name"'):
        done.check_returncode()
    return done.stdout

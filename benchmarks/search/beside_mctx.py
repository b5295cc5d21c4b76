"""The command ``mctx``: our trees and mctx, in turns, on the same sizes.

jax and dm-reverb need different numpy versions, so mctx runs in a separate interpreter, a child
process (``mctx_cost``). Both sides search from new noise to recommended actions and action weights.
"""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import numpy as np
import tyro

from benchmarks.measuring import Row, Usage, cost_row, cpu_seconds, describe_machine, ratio_row
from benchmarks.report import print_rows
from benchmarks.search.tree_cost import PrecomputedSearch, Shape

HOW_TO = (
    "mctx needs a separate interpreter; to make one and measure:\n"
    "  python3.11 -m venv /tmp/mctx && /tmp/mctx/bin/pip install mctx jax && "
    "python -m benchmarks mctx --python /tmp/mctx/bin/python"
)
SHAPES = tuple(
    Shape(*size, None, algorithm)
    for algorithm in ("gumbel", "puct")
    for size in ((16, 6, 256), (50, 6, 64), (50, 6, 256))
)
_DEMANDED = Shape(16, 6, 256, None, "gumbel")  # where mctx is strongest
_COMPILE_TIMEOUT_S = 600.0
_SEARCH_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MctxCommand:
    """Compare the trees with mctx, in CPU time; compiling mctx takes most of a minute."""

    python: Path | None = None
    """Interpreter with mctx and jax. Without: print how to make one."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """One JSON object a row instead of the table; the first describes the machine."""


class MctxProcess:
    """mctx in another interpreter."""

    def __init__(self, python: Path, shapes: Sequence[Shape]) -> None:
        """Start it; it compiles at once."""
        sizes = [[shape.algorithm, *shape[:3]] for shape in shapes]
        script = Path(__file__).with_name("mctx_cost.py")
        self._process = subprocess.Popen(
            [str(python), str(script), json.dumps(sizes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def __enter__(self) -> Self:
        """Nothing to do: it runs already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def versions(self) -> str:
        """Wait until everything is compiled and return its versions."""
        found = json.loads(self._line(_COMPILE_TIMEOUT_S, "mctx's compilation"))
        return ", ".join(f"{key} {value}" for key, value in found.items())

    def search(self, index: int) -> float:
        """Return the CPU seconds of one search of a shape."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{index}\n".encode())
        return float(self._line(_SEARCH_TIMEOUT_S, "a search by mctx"))

    def _line(self, timeout_s: float, what: str) -> str:
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], timeout_s)[0]:
            raise ValueError(f"{what}: got nothing, wanted it within {timeout_s:g} s")
        line = stdout.readline()
        if not line:
            raise ValueError(f"{what}: the interpreter ended; does it have mctx and jax?")
        return line.decode()


def measure_mctx(command: MctxCommand) -> None:
    """Measure and print, or say how.

    Raises:
        ValueError: the interpreter cannot run mctx.
    """
    if command.python is None:
        print(HOW_TO)
        return
    machine, usage = describe_machine(), Usage()
    try:
        process = MctxProcess(command.python, SHAPES)
    except OSError as error:
        raise ValueError(f"--python {command.python}: {error.strerror}\n{HOW_TO}") from error
    with process:
        machine += f"\n{process.versions()}, one core, one thread"
        if not command.json:
            print(machine, flush=True)
        rows = measure_beside(process, SHAPES, rounds=40)
    effort = f"{usage.wall_s:.0f} s, compiling included"
    print_rows(rows, machine=machine, effort=effort, as_json=command.json)


def measure_beside(process: MctxProcess, shapes: Sequence[Shape], *, rounds: int) -> list[Row]:
    """Measure every shape on both sides, ours and theirs in turns."""
    rows = []
    for index, shape in enumerate(shapes):
        ours = _complete_search(shape)
        spent: dict[str, list[float]] = {"ours": [], "mctx": []}
        for _ in range(rounds):
            # Two of ours, the first to fetch the caches back that the other process took.
            spent["ours"] += cpu_seconds({"ours": ours}, rounds=1)["ours"]
            process.search(index)
            spent["mctx"].append(process.search(index))
        sizes = {"num_roots": shape.num_trees, "num_simulations": shape.num_simulations}
        names = {"ours": shape.name, "mctx": f"mctx {shape.algorithm} {shape.size}"}
        rows += [cost_row(name, spent[side], **sizes) for side, name in names.items()]
        rows.append(
            ratio_row(
                f"mctx / ours {shape.algorithm} {shape.size}",
                spent["mctx"],
                spent["ours"],
                must=1.0 if shape == _DEMANDED else None,
                at_least=True,
            )
        )
    return rows


def _complete_search(shape: Shape) -> Callable[[], None]:
    """Return a search as mctx's policies do it: with noise, and with its recommendations."""
    search = PrecomputedSearch(shape, np.random.default_rng(0), draw_noise=True)
    actions = np.empty(shape.num_trees, np.int32)
    weights = np.empty((shape.num_trees, shape.num_actions), np.float32)

    def run() -> None:
        search.run()
        search.trees.best_actions(actions)
        search.trees.action_weights(weights)

    return run

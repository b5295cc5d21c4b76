"""How numbers are measured and stored: seconds in interleaved rounds, rows, the machine.

Used by all measurements and by ``report``.
"""

from __future__ import annotations

import gc
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from efficientzero.inference.cpu import _kernels
from mcts_cpp import _core

Samples = dict[str, list[float]]  # task -> seconds, one a round
Tasks = Mapping[str, Callable[[], object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured number."""

    name: str
    value: float | None
    """None: it could not be measured here; ``note`` says why."""
    unit: str
    must: float | None = None
    """Largest value allowed, or the least; None: for information."""
    at_least: bool = False
    """Whether ``must`` is the least value allowed."""
    fastest: float | None = None
    """The same from the fastest round; far from ``value`` on a disturbed machine."""
    times_floor: float | None = None
    """``value`` as a multiple of the floor measured in the same rounds (see ``tree_cost``)."""
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the value is within its limit; None without a limit or a measurement."""
        if self.must is None or self.value is None:
            return None
        return self.value >= self.must if self.at_least else self.value <= self.must


def cpu_seconds(tasks: Tasks, *, rounds: int) -> Samples:
    """Run every task once a round and return its CPU seconds, of all threads, in each round.

    CPU time, because other processes must not count; in turns, because the processor's clock and
    its caches' other users change within seconds and should hit all tasks alike. One round more
    goes ahead unmeasured.
    """
    return _in_turns(tasks, rounds, time.process_time)


def wall_seconds(tasks: Tasks, *, rounds: int) -> Samples:
    """Return wall-clock seconds instead, which other processes lengthen: for threads only."""
    return _in_turns(tasks, rounds, time.perf_counter)


def _in_turns(tasks: Tasks, rounds: int, clock: Callable[[], float]) -> Samples:
    samples: Samples = {name: [] for name in tasks}
    collects = gc.isenabled()
    gc.disable()
    try:
        for round_index in range(rounds + 1):
            for name, task in tasks.items():
                start = clock()
                task()
                seconds = clock() - start
                if round_index:
                    samples[name].append(seconds)
    finally:
        if collects:
            gc.enable()
    return samples


def ratio_row(
    name: str,
    above: Sequence[float],
    below: Sequence[float],
    *,
    must: float | None = None,
    at_least: bool = False,
    note: str = "",
) -> Row:
    """Compare two tasks that took turns: the median of their ratios round by round."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    fastest = min(above) / min(below)
    return Row(
        name=name,
        value=median(ratios),
        unit="x",
        must=must,
        at_least=at_least,
        fastest=fastest,
        note=note,
    )


def cost_row(
    name: str,
    seconds: Sequence[float],
    *,
    num_roots: int,
    num_simulations: int,
    must: float | None = None,
    times_floor: float | None = None,
) -> Row:
    """Return the microseconds per root and simulation of one search."""
    per_second = 1e6 / (num_roots * num_simulations)
    return Row(
        name=name,
        value=median(seconds) * per_second,
        unit="us",
        must=must,
        fastest=min(seconds) * per_second,
        times_floor=times_floor,
    )


class Usage:
    """The share of one core that this process got since this object was made."""

    def __init__(self) -> None:
        """Start the clocks."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    @property
    def wall_s(self) -> float:
        """Seconds on the wall."""
        return time.perf_counter() - self._wall

    @property
    def share(self) -> float:
        """CPU seconds per second on the wall; below about 0.95 others held the core."""
        return (time.process_time() - self._cpu) / self.wall_s


def describe_machine() -> str:
    """Return one paragraph on processor, load and versions."""
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    state = "LOADED: expect noise" if load > cores / 2 else "idle enough"
    return (
        f"{_processor()}, {cores} cores; load {load:.1f} ({state}); CPU time\n"
        f"Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__} "
        f"({torch.backends.cpu.get_cpu_capability()}), {_kernels.INSTRUCTION_SET} kernels, trees "
        f"built by {_compiler()} "
        "(default flags: -O3 -DNDEBUG -march=native -ffp-contract=off)"
    )


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _compiler() -> str:
    """Return the compiler's own mark in the extension (section .comment), if it left one."""
    mark = re.search(
        rb"GCC: \([^)]*\) [\d.]+|clang version [\d.]+", Path(_core.__file__).read_bytes()
    )
    return mark[0].decode() if mark else "an unknown compiler"

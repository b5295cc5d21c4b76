"""How a number is taken and kept: CPU seconds in interleaved rounds, rows, the machine.

Used by the measurements (``tree_cost``, ``search_cost``) and by ``report``. Knows neither trees nor
networks.
"""

from __future__ import annotations

import gc
import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mcts_cpp import _core

Samples = dict[str, list[float]]  # task -> CPU seconds, one a round


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured number."""

    name: str
    value: float
    unit: str
    must: float | None = None
    """Largest value allowed; None: for information."""
    fastest: float | None = None
    """The same from the fastest round; far below ``value`` on a disturbed machine."""
    times_floor: float | None = None
    """``value`` as a multiple of the floor measured in the same rounds (see ``tree_cost``)."""

    @property
    def holds(self) -> bool | None:
        """Whether the value is allowed; None where nothing is demanded."""
        return None if self.must is None else self.value <= self.must


def cpu_seconds(tasks: Mapping[str, Callable[[], object]], *, rounds: int) -> Samples:
    """Run every task once a round and return its CPU seconds of each round.

    CPU time, because other processes must not count; in turns, because the processor's clock and
    its caches' other users change within seconds and should hit all tasks alike. One round more
    goes ahead unmeasured.
    """
    samples: Samples = {name: [] for name in tasks}
    collects = gc.isenabled()
    gc.disable()
    try:
        for round_index in range(rounds + 1):
            for name, task in tasks.items():
                start = time.process_time()
                task()
                seconds = time.process_time() - start
                if round_index:
                    samples[name].append(seconds)
    finally:
        if collects:
            gc.enable()
    return samples


def per_simulation_us(seconds: float, *, num_roots: int, num_simulations: int) -> float:
    """Return the microseconds per root and simulation of one search."""
    return seconds * 1e6 / (num_roots * num_simulations)


class Usage:
    """What share of one core this process got since it was created."""

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
        f"{_processor()}, {cores} cores; load {load:.1f} ({state}); one thread, CPU time\n"
        f"Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__} "
        f"({torch.backends.cpu.get_cpu_capability()}), trees built by {_compiler()} "
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

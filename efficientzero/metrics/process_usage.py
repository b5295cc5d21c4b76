"""A process's use of its machine: processor time, memory, and GPU memory if it uses one.

Every role has one and puts ``row()`` into its metric rows. The load of the GPU itself is a state of
the device, not of a process; the learner's wandb run shows it under "System".
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from efficientzero.metrics.interval import Interval


class ProcessUsage:
    """Measures this process with all its threads, without its children (wandb's service)."""

    def __init__(
        self,
        role: str,
        *,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._prefix = f"{role}/process/"
        self._cpu_clock = cpu_clock
        self._interval = Interval(clock=clock, cpu_s=cpu_clock())

    def row(self) -> dict[str, float]:
        """Return processor use since the last call, and memory now.

        ``cpu_share`` is in cores: 1 is one core busy all the time, and threads add up.
        """
        _, per_s = self._interval.restart(cpu_s=self._cpu_clock())
        usage = {"cpu_share": per_s["cpu_s"], "resident_bytes": resident_bytes(), **_gpu_bytes()}
        return {f"{self._prefix}{name}": value for name, value in usage.items()}


def resident_bytes() -> int:
    """Return this process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _gpu_bytes() -> dict[str, float]:
    """Return the memory torch holds on the current GPU; empty if this process uses none."""
    torch = sys.modules.get("torch")  # replay does without torch
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {
        "gpu_allocated_bytes": torch.cuda.memory_allocated(),
        "gpu_reserved_bytes": torch.cuda.memory_reserved(),
    }

"""CPU-seconds of processes that report nothing themselves: wandb's service, a learner's ranks.

Read from the system by the process that started or leads them. A sum never falls: the last reading
of a process that has ended is kept.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_LOOK_S, _FIRST_LOOK_S = 30.0, 1.0
"""Seconds between two searches for further processes, and while none is known. Each search reads
all processes of the machine. A short run ends before the first longer interval does."""
_WANDB = "wandb-"
"""How the names of wandb's programs begin: wandb-core, and wandb-xpu, which core starts."""


class ProcessState(NamedTuple):
    """The system's data on a process."""

    pid: int
    parent: int
    name: str
    born: int
    """Ticks since the machine's start: with the pid it names a process for good."""
    spent_s: float
    """CPU-seconds of all its threads."""


def read_process(pid: int) -> ProcessState | None:
    """Return the system's data on a process; None if there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name is in parentheses and may have some itself; see proc(5) for the rest.
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    spent_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return ProcessState(pid, int(fields[1]), head.partition("(")[2], int(fields[19]), spent_s)


class ProcessSeconds:
    """CPU-seconds of some processes of this machine, summed. Safe to call from any thread."""

    def __init__(
        self,
        find: Callable[[], Iterable[ProcessState]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count the processes that ``find`` returns, looked for every 30 s once there is one.

        Args:
            find: returns the processes that exist now.
            clock: returns seconds.
        """
        self._find, self._clock, self._lock = find, clock, threading.Lock()
        self._looked_at = -_LOOK_S
        self._spent: dict[tuple[int, int], float] = {}  # by pid and birth

    def read(self) -> float:
        """Return the CPU-seconds spent until now."""
        with self._lock:
            now = self._clock()
            if now - self._looked_at >= (_LOOK_S if self._spent else _FIRST_LOOK_S):
                self._looked_at = now
                for state in self._find():
                    self._spent.setdefault((state.pid, state.born), 0.0)
            for pid, born in self._spent:
                current = read_process(pid)
                if current is not None and current.born == born:
                    self._spent[pid, born] = current.spent_s
            return sum(self._spent.values())


def descendants(of: int) -> list[ProcessState]:
    """Return all descendants of process ``of``."""
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())
    children: dict[int, list[ProcessState]] = {}
    for state in filter(None, map(read_process, pids)):
        children.setdefault(state.parent, []).append(state)
    found, parents = list[ProcessState](), [of]
    while parents:
        further = children.get(parents.pop(), [])
        found += further
        parents += [state.pid for state in further]
    return found


def _wandb_processes() -> list[ProcessState]:
    return [state for state in descendants(os.getpid()) if state.name.startswith(_WANDB)]


WANDB_SECONDS = ProcessSeconds(_wandb_processes)
"""Of wandb's processes under this one."""

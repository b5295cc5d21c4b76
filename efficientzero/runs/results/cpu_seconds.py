"""The cost of a run so far: CPU-seconds by role, kept in its folder.

The learner adds up the reports in workers' heartbeats; replay writes its own. A process that starts
again, also the learner, continues the sums, so that time spent before a crash counts. Two sums
belong to no role: ``rank`` (a learner's processes on further devices) and ``wandb`` (processes that
wandb starts for each role).
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from efficientzero.process.process_seconds import WANDB_SECONDS
from efficientzero.runs.run_folder import write_json

WANDB, RANK = "wandb", "rank"

_FILE = "cpu_seconds.json"
_MOST_REPORTS = 20_000
"""Number of processes remembered, at most two entries each: as many as a run has places. The report
of a forgotten process would count again from its start."""
_MOST_CORES = 1_024
"""Cores that one process can keep busy: bounds the CPU-seconds that it may report."""
_HEAD_START_S = 600.0
"""Seconds that a process may have run before its first report."""
_SAVE_EVERY_S = 10.0


class CpuSeconds:
    """Sums of one folder. Safe to call from any thread."""

    def __init__(
        self,
        folder: Path,
        *,
        check_lease: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go on with the sums in ``folder``.

        Args:
            folder: of the run, or replay's folder in it.
            check_lease: raises if another process owns the folder now.
            clock: returns seconds.
        """
        self._path, self._check_lease, self._clock = folder / _FILE, check_lease, clock
        self._lock, self._own = threading.Lock(), secrets.randbits(63)
        known = _read(self._path)
        self._of_role: dict[str, float] = known["of_role"]
        self._reported: dict[str, float] = known["reported"]  # by member, in the order of reports
        self._started_at, self._saved_at = clock(), -_SAVE_EVERY_S

    def note(self, role: str, member: int, seconds: float) -> None:
        """Add a process's report.

        Args:
            role: its sum grows by the time spent since this process's previous report; ``WANDB``
                and ``RANK`` for the time of child processes.
            member: random number of the process.
            seconds: CPU-seconds spent since its start.
        """
        name = f"{role} {member}" if role in (WANDB, RANK) else str(member)
        most = _MOST_CORES * (self._clock() - self._started_at + _HEAD_START_S)
        with self._lock:
            before = self._reported.pop(name, 0.0)
            spent = min(most, max(0.0, seconds - before))
            if spent:
                self._of_role[role] = self._of_role.get(role, 0.0) + spent
            self._reported[name] = before + spent
            while len(self._reported) > _MOST_REPORTS:
                del self._reported[next(iter(self._reported))]

    def note_own(self, role: str) -> None:
        """Add the CPU-seconds of this process and of wandb's processes under it."""
        self.note(role, self._own, time.process_time())
        self.note(WANDB, self._own, WANDB_SECONDS.read())

    def note_ranks(self, seconds: float) -> None:
        """Add the CPU-seconds of this learner's processes on further devices."""
        self.note(RANK, self._own, seconds)

    def save_when_due(self) -> None:
        """Save if ten seconds have passed since the last time.

        Raises:
            Fenced: another process owns the folder.
        """
        if self._clock() - self._saved_at >= _SAVE_EVERY_S:
            self._saved_at = self._clock()
            self.save()

    def save(self) -> None:
        """Write the sums; if the disk refuses them, the file stays as it is.

        Raises:
            Fenced: another process owns the folder.
        """
        with self._lock:
            state = {
                "of_role": {role: round(s, 3) for role, s in self._of_role.items()},
                "reported": {name: round(s, 3) for name, s in self._reported.items()},
            }
        with contextlib.suppress(OSError):
            self._check_lease()
            write_json(self._path, state)


def cpu_seconds_of(run_folder: Path) -> dict[str, float]:
    """Return a run's CPU-seconds by role, largest first; empty if none were kept."""
    sums: dict[str, float] = {}
    for path in (run_folder / _FILE, *sorted(run_folder.glob(f"replay-*/{_FILE}"))):
        for role, seconds in _read(path)["of_role"].items():
            sums[role] = sums.get(role, 0.0) + seconds
    return {role: round(sums[role], 1) for role in sorted(sums, key=lambda role: -sums[role])}


def _read(path: Path) -> dict[str, dict[str, float]]:
    """Return a file's sums; empty if it is missing or damaged."""
    try:
        state: Any = json.loads(path.read_bytes())
        return {
            key: {str(name): float(seconds) for name, seconds in state[key].items()}
            for key in ("of_role", "reported")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"of_role": {}, "reported": {}}

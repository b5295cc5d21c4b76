"""What a fault is, and where it is injected."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from replay.snapshots.folder import in_order
from tests.chaos.sizes import Size
from tests.chaos.wall_clock import WallClocks
from tests.integration.local_runs import LocalRun

_WAIT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One run that is being hurt."""

    run: LocalRun
    size: Size
    folder: Path
    """The case's own: a small disk where the fault wants one, else a plain folder."""
    chance: random.Random
    pause_s: float
    clocks: WallClocks | None
    """Of the run's processes, where a fault sets them."""

    @property
    def snapshots(self) -> list[Path]:
        """Replay's finished ones, in the order in which they were written."""
        kept = self.run.directory / "replay-0" / "kept"
        return in_order(path for path in kept.iterdir() if not path.name.startswith("."))

    def wait(self, what: str, is_reached: Callable[[], bool]) -> None:
        """Wait while the run goes on.

        Raises:
            AssertionError: the run ended first, or it took too long.
        """
        deadline = time.monotonic() + _WAIT_S
        while not is_reached():
            ended = self.run.process.poll()
            if ended is not None:
                raise AssertionError(f"the run ended with {ended} before {what}")
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {_WAIT_S:.0f} s for {what}")
            time.sleep(0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault."""

    name: str
    inject: Callable[[Site], None]
    """Returns when the fault is over and recovery begins."""
    role: str = ""
    """Which process dies of it; empty: none."""
    episodes: int = 0
    """How often it may cost the episodes that the actor is playing."""
    snapshots: int = 0
    """How often it may cost what was played since replay's newest snapshot."""
    disk_bytes: int = 0
    """Run on a file system of this size (needs root); 0: on the usual one."""
    sets_clocks: bool = False

    def most_lost(self, size: Size) -> int:
        """Return how many env_steps one injection may cost."""
        return self.episodes * size.in_flight + self.snapshots * size.since_snapshot

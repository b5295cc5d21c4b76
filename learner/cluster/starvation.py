"""Ends a hopeless wait for training batches: replay is empty and all env_steps are played.

``replay_follower`` passes replay's counts, the learner's loop calls ``check`` while it waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from efficientzero.process.runtime import PlainError
from learner.pacing import Governor
from replay.info import ReplayCounts

_PATIENCE_S = 60.0
"""Batches may be in transit between reanalyzers and learner for seconds."""


class ReplayEmpty(PlainError):
    """There is no data to train on, and none will come."""

    is_permanent: ClassVar[bool] = True


class Starvation:
    """Since when replay is empty, with no train_step made and no env_step to come."""

    def __init__(self, governor: Governor, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing known; ``clock`` in seconds."""
        self._governor, self._clock = governor, clock
        self._since: tuple[float, int] | None = None  # seconds, train_steps made by then

    def look(self, counts: ReplayCounts) -> None:
        """Process replay's counts; call from one thread."""
        made, pace = self._governor.train_steps, self._governor.pace
        is_starved = (
            not counts.num_steps
            and not counts.num_queued_batches
            and self._governor.env_steps >= pace.env_steps
            and made < pace.total_train_steps
        )
        if not is_starved:
            self._since = None
        elif self._since is None or self._since[1] != made:
            self._since = self._clock(), made

    def check(self) -> None:
        """Raise if replay has been empty for a minute.

        Raises:
            ReplayEmpty: with the missing data and possible causes.
        """
        since = self._since
        if since is None or self._clock() - since[0] < _PATIENCE_S:
            return
        pace = self._governor.pace
        raise ReplayEmpty(
            f"replay is empty, all {pace.env_steps:,} env_steps are played and {since[1]:,} of "
            f"{pace.total_train_steps:,} train_steps are made: nothing is left to train on. Replay "
            "was started without its snapshots, or was emptied by a client (its port has no login)"
        )

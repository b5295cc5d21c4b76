"""What a process knows of the shards of replay: which are there, and what each weighs.

Written by ``shard_watch``, read by the writers, samplers and senders of priorities of a run with
several replay services. Counting behind one lock; knows no Reverb.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from efficientzero.runtime import StopSignal
from efficientzero.schema import F64
from replay.info import ReplayCounts

_LOOKS = 2
"""Looks in a row that find nobody at a shard's address before it counts as away."""
_SILENCE_S = 30.0
"""How long one may be silent that takes connections: a snapshot holds a large one up."""
_LATE_S = 10.0
"""From when on it is said that one has not come yet."""

log = logging.getLogger(__name__)


class ShardLink(StopSignal):
    """Ends what a process does with one shard: set when that is lost, and when the process stops.

    A shard that comes back has a new one, so that clients see by it that theirs is of the past.
    """

    def __init__(self, process: StopSignal) -> None:
        """Follow the process's own signal."""
        super().__init__()
        self._process = process

    def is_set(self) -> bool:
        """Tell whether the shard is lost or the process is to stop."""
        return super().is_set() or self._process.is_set()

    def fail(self, thread: str, error: BaseException) -> None:
        """Have the process stop: a thread's failure is no loss of the shard."""
        self._process.fail(thread, error)


class ShardMass(NamedTuple):
    """What one table of a shard weighs when steps are drawn from all shards."""

    mass: float
    """Sum of p^alpha over the table's items; their number where they are drawn uniformly."""
    size: int
    """Items."""


NOTHING = ShardMass(0.0, 0)


def shares_of(masses: Sequence[ShardMass]) -> F64 | None:
    """Return each shard's share of the draws, f64 [N], or None where there is nothing to draw.

    Drawing shard s with share m_s / M and then one of its items with P(i) = p_i^alpha / m_s gives
    item i the probability p_i^alpha / M: that of Schaul et al. (2016, eq. 1) over all shards.
    """
    weights = np.array([mass for mass, _ in masses], np.float64)
    total = weights.sum()
    return weights / total if total > 0 else None


@dataclass(slots=True)
class _Shard:
    address: str
    answered_at: float  # of the board's clock, seconds; at first when the board was made
    link: ShardLink | None = None  # None: away, or never seen
    counts: ReplayCounts = field(default_factory=ReplayCounts)
    masses: Mapping[str, ShardMass] = field(default_factory=dict)
    missed: int = 0  # looks in a row that found nobody
    is_said: bool = False  # that it is away


class ShardBoard:
    """The shards as last seen. Safe to call from any thread."""

    def __init__(
        self,
        addresses: Sequence[str],
        stop: StopSignal,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know of nobody yet.

        Args:
            addresses: of the shards, by their number.
            stop: the process's; ends every link.
            clock: seconds.
        """
        self._stop, self._clock = stop, clock
        self._lock = threading.Lock()
        self._shards = [_Shard(address, clock()) for address in addresses]  # under the lock

    @property
    def addresses(self) -> list[str]:
        """Of the shards, by their number."""
        return [shard.address for shard in self._shards]

    def answered(self, number: int, counts: ReplayCounts, masses: Mapping[str, ShardMass]) -> None:
        """Note what a shard told just now."""
        with self._lock:
            shard, now = self._shards[number], self._clock()
            if shard.link is None:
                shard.link = ShardLink(self._stop)
                if shard.is_said:
                    away_s = now - shard.answered_at
                    log.info("replay shard %d is back after %.0f s", number, away_s)
            shard.counts, shard.masses = counts, masses
            shard.answered_at, shard.missed, shard.is_said = now, 0, False

    def missed(self, number: int, *, is_listening: bool) -> None:
        """Note that a shard did not answer, and whether anybody took the connection."""
        with self._lock:
            shard = self._shards[number]
            shard.missed = 0 if is_listening else shard.missed + 1
            self._review(number)

    def link(self, number: int) -> ShardLink | None:
        """Return the link to a shard, the same while it is there; None while it is away."""
        with self._lock:
            self._review(number)
            return self._shards[number].link

    def counts(self) -> list[ReplayCounts | None]:
        """Return what each shard counted last; None for those that are away."""
        with self._lock:
            self._review_all()
            return [shard.counts if shard.link else None for shard in self._shards]

    def masses(self, table: str) -> list[ShardMass]:
        """Return what ``table`` weighs in each shard: nothing in those that are away."""
        with self._lock:
            self._review_all()
            return [s.masses.get(table, NOTHING) if s.link else NOTHING for s in self._shards]

    # Everything below is called under the lock.

    def _review_all(self) -> None:
        for number in range(len(self._shards)):
            self._review(number)

    def _review(self, number: int) -> None:
        """Give up a shard that has been missed or silent for too long."""
        shard = self._shards[number]
        silent_s = self._clock() - shard.answered_at
        is_away = shard.missed >= _LOOKS or silent_s > _SILENCE_S
        if shard.link is not None and is_away:
            shard.link.set(f"replay shard {number} is away")
            shard.link, shard.is_said = None, True
            log.warning(
                "replay shard %d at %s is away with the %d steps it holds; %s",
                number,
                shard.address,
                shard.counts.num_steps,
                _consequence(number),
            )
        elif shard.link is None and not shard.is_said and silent_s > _LATE_S:
            shard.is_said = True
            log.warning(
                "replay shard %d at %s is not there yet; %s",
                number,
                shard.address,
                _consequence(number),
            )


def _consequence(number: int) -> str:
    if number == 0:
        return "new episodes go to the others, but no training batch can pass until it is back"
    return "the other shards go on without it"

"""Sends new priorities to the shards of replay that hold their items.

The learner holds one, with one replay service as with several.
"""

from __future__ import annotations

from collections.abc import Sequence

from efficientzero.runtime import StopSignal
from efficientzero.schema import F64, I32, U64
from replay.priorities import PriorityUpdater
from replay.shard_board import ShardBoard


class PriorityRouter:
    """One ``PriorityUpdater`` for each shard that is there.

    Priorities of a shard that is away are dropped and counted: its own come back with it.
    """

    def __init__(
        self, addresses: Sequence[str], stop: StopSignal, *, board: ShardBoard | None = None
    ) -> None:
        """Open no connection yet.

        Args:
            addresses: of the shards, by their number.
            stop: ends the threads.
            board: tells which shards are there; None: the only one is taken to be.
        """
        self._addresses, self._stop, self._board = addresses, stop, board
        self._updaters: dict[int, tuple[StopSignal, PriorityUpdater]] = {}
        self._past_dropped = 0

    @property
    def dropped_updates(self) -> int:
        """Updates that never arrived; one train_step makes one for each of its shards."""
        return self._past_dropped + sum(u.dropped_updates for _, u in self._updaters.values())

    def update(self, keys: U64, priorities: F64, shards: I32) -> None:
        """Queue new priorities [B] of the items ``keys`` [B] in ``shards`` [B]; never blocks."""
        if len(self._addresses) == 1:
            self._updater(0, self._stop).update(keys, priorities)
            return
        for number in sorted(set(shards.tolist())):
            link = self._board.link(number) if self._board else self._stop
            if link is None:
                self._past_dropped += 1
                continue
            is_there = shards == number
            self._updater(number, link).update(keys[is_there], priorities[is_there])

    def _updater(self, number: int, link: StopSignal) -> PriorityUpdater:
        """Return the shard's updater, a new one for a new link."""
        known = self._updaters.get(number)
        if known is None or known[0] is not link:
            self._past_dropped += known[1].dropped_updates if known else 0
            known = (link, PriorityUpdater(self._addresses[number], link))
            self._updaters[number] = known
        return known[1]

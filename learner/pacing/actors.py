"""Which actor processes a governor knows, and how many env_steps each of them holds.

Held by the governor, which calls everything here under its lock.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from efficientzero.schema import Grant
from learner.pacing.recent_set import RecentSet

_MOST_REPLACED = 20_000
"""Actor processes that are refused if they come back; older ones ended long ago."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Ticket:
    """One request that waits for its grant."""

    actor: Actor
    wanted: int
    answered: threading.Event = field(default_factory=threading.Event)
    grant: Grant | None = None
    """Set just before ``answered``, then never changed."""


@dataclass(slots=True, eq=False)
class Actor:
    """What the governor knows of one actor process."""

    incarnation: int
    held: int = 0
    """Env_steps granted to it and not completed."""
    request: int = 0
    """Number of its newest request."""
    is_adopted: bool = False
    """May come from the time of another governor: its first request sets the numbers here."""
    ticket: Ticket | None = None
    """Answer (to come) of that request, kept in case it is repeated."""


class Actors:
    """The actor processes by index, and the env_steps they hold."""

    def __init__(self, most_held: int) -> None:
        """Know nobody.

        Args:
            most_held: env_steps that one actor can hold.
        """
        self.by_index: dict[int, Actor] = {}
        self.replaced = RecentSet[tuple[int, int]](_MOST_REPLACED)
        """Index and incarnation of processes that are refused."""
        self.held = 0
        """Env_steps that all of them hold."""
        self._most_held = most_held
        self._follows_another = False  # actors may hold grants of a governor before this one
        self._adoptable = 0  # env_steps of those grants that may still be reported here
        self._adopted: set[int] = set()  # actors that have reported some

    def follow_another(self, adoptable: int) -> None:
        """Expect actors with up to ``adoptable`` env_steps granted by a governor before this."""
        self._follows_another, self._adoptable = True, adoptable

    def add(self, index: int, incarnation: int) -> Actor:
        """Return a new process in the place of an index, which is free."""
        actor = self.by_index[index] = Actor(incarnation, is_adopted=self._follows_another)
        return actor

    def find(self, index: int, incarnation: int) -> Actor | None:
        """Return a process, or None if it is new.

        Raises:
            ValueError: it has been replaced.
        """
        actor = self.by_index.get(index)
        if actor is not None and actor.incarnation == incarnation:
            return actor
        if (index, incarnation) in self.replaced:
            raise ValueError(
                f"actor {index}: got a process that was replaced, wanted its successor"
            )
        return None

    def remove(self, index: int) -> Actor:
        """Return the process of an index and refuse it from now on; what it holds still counts."""
        actor = self.by_index.pop(index)
        self.replaced.add((index, actor.incarnation))
        return actor

    def adopt(self, index: int, request: int, completed: int, *, budget_left: int) -> int:
        """Take over an actor that holds a grant of the governor before: exactly what it completed.

        Once for each index, and no more in all than the governor before can have granted. What it
        holds and has not completed is not known here, so others may have been granted the last of
        the budget meanwhile; what does not fit any more is logged and not counted.

        Returns:
            How many of the completed env_steps count.

        Raises:
            ValueError: more than an actor can hold, or a second time.
        """
        actor = self.by_index[index]
        if completed > self._most_held:
            raise ValueError(
                f"completed: got {completed} of a time before this learner, wanted at most "
                f"{self._most_held}: what an actor can hold"
            )
        if completed and index in self._adopted:
            raise ValueError(
                f"completed: got {completed} of a time before this learner a second time, wanted 0"
            )
        actor.is_adopted = False
        actor.request = request - 1
        actor.held = min(completed, budget_left, self._adoptable)
        self.held += actor.held
        self._adoptable -= actor.held
        if completed:
            self._adopted.add(index)
        if actor.held < completed:
            log.warning(
                "%d env_steps were played beyond the budget while the learner was away, or "
                "were never granted; they do not count",
                completed - actor.held,
            )
        return actor.held

"""The actor processes that a governor knows, and the env_steps each of them holds.

Held by the governor, which calls everything here under its lock.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from efficientzero.schema import Grant
from learner.pacing.recent_set import RecentSet

_MOST_REPLACED = 20_000
"""Number of replaced actor processes to remember and refuse; older ones ended long ago."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Ticket:
    """One request that waits for a grant."""

    actor: Actor
    wanted: int
    answered: threading.Event = field(default_factory=threading.Event)
    grant: Grant | None = None
    """Set just before ``answered``, then never changed."""


@dataclass(slots=True, eq=False)
class Actor:
    """The governor's state of one actor process."""

    incarnation: int
    held: int = 0
    """Env_steps granted to it and not completed."""
    request: int = 0
    """Number of its newest request."""
    is_adopted: bool = False
    """It may have started under an earlier governor: its first request sets the numbers here."""
    ticket: Ticket | None = None
    """Answer (maybe pending) to that request, kept in case it is repeated."""


class Actors:
    """The actor processes by index, and the env_steps they hold."""

    def __init__(self, most_held: int) -> None:
        """Start without actors.

        Args:
            most_held: env_steps that one actor can hold.
        """
        self.by_index: dict[int, Actor] = {}
        self.replaced = RecentSet[tuple[int, int]](_MOST_REPLACED)
        """Index and incarnation of processes that are refused."""
        self.held = 0
        """Env_steps that all of them hold together."""
        self._most_held = most_held
        self._follows_another = False  # actors may hold grants of an earlier governor
        self._adoptable = 0  # env_steps of those grants that may still be reported here
        self._adopted: set[int] = set()  # actors that have reported some

    def follow_another(self, adoptable: int) -> None:
        """Expect actors with up to ``adoptable`` env_steps granted by an earlier governor."""
        self._follows_another, self._adoptable = True, adoptable

    def add(self, index: int, incarnation: int) -> Actor:
        """Register a new process under a free index and return it."""
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
        """Remove and refuse the process of an index; return it, with its held env_steps."""
        actor = self.by_index.pop(index)
        self.replaced.add((index, actor.incarnation))
        return actor

    def accept(self, index: int, request: int, completed: int, *, budget_left: int) -> int:
        """Check a new request of an actor; return how many of its completed env_steps count.

        Raises:
            ValueError: a request out of order, or more completed than held.
        """
        actor = self.by_index[index]
        if actor.is_adopted:
            completed = self._adopt(index, request, completed, budget_left=budget_left)
        if request != actor.request + 1:
            raise ValueError(f"request number: got {request}, wanted {actor.request + 1}")
        if completed > actor.held:
            raise ValueError(f"completed: got {completed}, wanted at most the {actor.held} held")
        return completed

    def _adopt(self, index: int, request: int, completed: int, *, budget_left: int) -> int:
        """Count the completed env_steps of an actor that holds a grant of an earlier governor.

        Once for each index, and in total at most what the earlier governor can have granted. The
        env_steps that it still held are unknown here, so other actors may have been granted the
        last of the budget meanwhile; env_steps beyond the budget are logged and not counted.

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

"""A set that keeps only its newest members, so that it stays small in a long run."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

_Member = TypeVar("_Member", bound=Hashable)


class RecentSet(Generic[_Member]):
    """The ``most`` members that were added last."""

    def __init__(self, most: int) -> None:
        """Begin empty."""
        self._most = most
        self._members: dict[_Member, None] = {}  # oldest first

    def add(self, member: _Member) -> None:
        """Add ``member`` as the newest; drop the oldest if there are too many."""
        self._members.pop(member, None)
        self._members[member] = None
        if len(self._members) > self._most:
            del self._members[next(iter(self._members))]

    def __contains__(self, member: object) -> bool:
        """Return whether ``member`` is among the newest."""
        return member in self._members

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self._members)

"""A set that remembers its newest members only, so that it stays small however long a run is."""

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
        """Remember ``member`` as the newest; forget the oldest where there are too many."""
        self._members.pop(member, None)
        self._members[member] = None
        if len(self._members) > self._most:
            del self._members[next(iter(self._members))]

    def __contains__(self, member: object) -> bool:
        """Tell whether ``member`` is among the newest."""
        return member in self._members

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._members)

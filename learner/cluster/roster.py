"""The processes of a run: places, signs of life, and the seeds of a process that joins.

Used by the cluster service, and checked once a second by ``watch``. All state is behind one lock;
independent of gRPC and of the pace.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from efficientzero.metrics import NO_VITALS, Vitals
from efficientzero.process.disk_space import is_full
from learner.pacing import RecentSet

LATE_S = 10.0
"""Silence after which a process is shown as late: five heartbeats."""
LOST_S = 30.0
"""Silence after which another process may get its place."""

FIRST_JOINED_INCARNATION = 1_000_000
"""A joining process never gets the seeds of a launcher's process with the same index."""

ONLY_ONE = ("evaluator",)
MOST_PLACES = 10_000
"""Places per role."""
_MOST_GONE = 20_000
"""Number of remembered members that left and are refused if they come back."""
_RETURN_S = 10.0
_SLEPT_S = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seat:
    """One process of the run."""

    role: str
    index: int
    incarnation: int
    member: int  # random, one per process
    host: str
    pid: int

    @property
    def name(self) -> str:
        """Role and index, as in logs."""
        return f"{self.role}-{self.index}"


@dataclass(slots=True)
class Member:
    """A process that has a place, and its last report."""

    seat: Seat
    seen_at: float  # seconds of the roster's clock
    vitals: Vitals = field(default=NO_VITALS)


class NoPlace(Exception):
    """There is no place now; the message gives the reason."""


class PlaceLost(Exception):
    """Another process has the place for good; the message gives the reason."""


class Roster:
    """The places of a run. Safe to call from any thread."""

    def __init__(
        self,
        *,
        count_start: Callable[[str], int],
        on_gone: Callable[[Seat], None] = lambda seat: None,
        awaits_return: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin empty.

        Args:
            count_start: returns the number of processes of a name that joined this run before, and
                counts one more; its counts must survive the learner.
            on_gone: called with each seat that became empty, outside of the lock.
            awaits_return: members of a previous learner may still run; they come back by themselves
                within seconds, and no new place is given before.
            clock: returns seconds.
        """
        self._count_start, self._on_gone, self._clock = count_start, on_gone, clock
        self._opens_at = clock() + (_RETURN_S if awaits_return else 0.0)
        self._joining = threading.Lock()  # one newcomer at a time: counting writes to the disk
        self._lock = threading.Lock()
        # Under the lock:
        self._members: dict[tuple[str, int], Member] = {}
        self._gone = RecentSet[int](_MOST_GONE)
        self._kept: set[tuple[str, int]] = set()  # places of processes with a fixed index
        self._looked_at = clock()

    def join(self, wish: Seat) -> Seat:
        """Return the place of a joining process; for a repeated request, the same place.

        Raises:
            NoPlace: there is no place now.
            PlaceLost: this process had a place and lost it.
        """
        with self._joining:
            return self._join(wish)

    def _join(self, wish: Seat) -> Seat:
        with self._lock:
            for member in self._members.values():
                if member.seat.member == wish.member:
                    return member.seat
            self._check_not_gone(wish)
            if self._clock() < self._opens_at:
                raise NoPlace("the learner has just started again; its processes come back first")
            index = self._free_index(wish.role)
        try:
            started = self._count_start(f"{wish.role}-{index}")
        except OSError as error:
            if not is_full(error):
                raise
            raise NoPlace("the learner's disk is full; there is a place once it has room") from None
        seat = dataclasses.replace(
            wish, index=index, incarnation=FIRST_JOINED_INCARNATION + started
        )
        with self._lock:
            if (wish.role, index) in self._members:
                raise NoPlace(f"{seat.name} was given away meanwhile")
            self._members[wish.role, index] = Member(seat, self._clock())
        log.info("%s joined from %s (process %d)", seat.name, seat.host, seat.pid)
        return seat

    def beat(self, seat: Seat, vitals: Vitals) -> None:
        """Note a sign of life; an unknown process takes its place with it.

        The caller has checked the proof that the process may have the place (``place_proofs``).

        Raises:
            PlaceLost: another process has the place now.
        """
        place, replaced = (seat.role, seat.index), None
        with self._lock:
            self._check_not_gone(seat)
            known = self._members.get(place)
            if known is None or known.seat.member != seat.member:
                replaced = self._take_over(seat, None if known is None else known.seat)
                known = self._members[place] = Member(seat, self._clock())
                log.info("%s is here from %s (process %d)", seat.name, seat.host, seat.pid)
            known.vitals, known.seen_at = vitals, self._clock()
        if replaced is not None:
            self._on_gone(replaced)

    def leave(self, seat: Seat) -> None:
        """Empty a place."""
        place = (seat.role, seat.index)
        with self._lock:
            known = self._members.get(place)
            if known is None or known.seat.member != seat.member:
                return
            del self._members[place]
            self._gone.add(seat.member)
        log.info("%s left", known.seat.name)
        self._on_gone(known.seat)

    def expire(self) -> None:
        """Empty the places of processes silent for too long; call about once a second."""
        now = self._clock()
        with self._lock:
            slept, self._looked_at = now - self._looked_at, now
            if slept > _SLEPT_S:
                # This process itself was delayed, so missing heartbeats prove nothing.
                for member in self._members.values():
                    member.seen_at += slept
            lost = [m for m in self._members.values() if now - m.seen_at > LOST_S]
            for member in lost:
                del self._members[member.seat.role, member.seat.index]
                self._gone.add(member.seat.member)
        for member in lost:
            seat = member.seat
            log.warning("%s on %s is lost: silent for %.0f s", seat.name, seat.host, LOST_S)
            self._on_gone(seat)

    def holds(self, role: str, index: int, member: int) -> bool:
        """Return whether the member has the place."""
        with self._lock:
            known = self._members.get((role, index))
            return known is not None and known.seat.member == member

    def members(self) -> list[tuple[Member, float]]:
        """Return all members with the seconds since the last sign of life, by role and index."""
        now = self._clock()
        with self._lock:
            return [
                (Member(m.seat, m.seen_at, m.vitals), max(0.0, now - m.seen_at))
                for _, m in sorted(self._members.items())
            ]

    # Everything below is called under the lock.

    def _check_not_gone(self, seat: Seat) -> None:
        if seat.member in self._gone:
            raise PlaceLost(
                f"{seat.name}: got a process that left, was replaced or was silent for "
                f"{LOST_S:.0f} s, wanted one with a place"
            )

    def _free_index(self, role: str) -> int:
        for index in range(MOST_PLACES):
            if (role, index) not in self._members and (role, index) not in self._kept:
                return index
            if role in ONLY_ONE:
                break
        raise NoPlace(f"a run has one {role} and it is there; this one can take its place later")

    def _take_over(self, seat: Seat, holder: Seat | None) -> Seat | None:
        """Prefer a process whose launcher fixed its index over one that joined.

        Returns:
            The seat that is displaced, if there is one.
        """
        is_given = seat.incarnation >= FIRST_JOINED_INCARNATION
        if not is_given:
            self._kept.add((seat.role, seat.index))
        if holder is None:
            return None
        holder_is_given = holder.incarnation >= FIRST_JOINED_INCARNATION
        is_newer = seat.incarnation > holder.incarnation
        if is_given if is_given != holder_is_given else not is_newer:
            raise PlaceLost(
                f"{seat.name}: got incarnation {seat.incarnation}, which replaces none of "
                f"{holder.incarnation}: process {holder.pid} on {holder.host} has this place"
            )
        self._gone.add(holder.member)
        return holder

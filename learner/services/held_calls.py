"""Bounds on the calls that hold a thread of the server: their number per host, and their duration.

Without them one worker could hold all threads: with calls whose message never comes, with many long
polls, or with weights that it does not read.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

import grpc

from learner.services.call_refused import CallRefused

MESSAGE_S = 10.0
"""Seconds from a call's headers to its message. A worker sends both together."""
CALL_S = 120.0
"""Seconds from a call's headers to its end. Long polls end after 60 s; a worker gives up a download
of weights after 30 s."""
_LATE_S = 1.0
"""Seconds from a call's headers to its message if the server is full."""
_FEW = 2
"""Calls of one connection that are not ended to make room for others. A worker has one at a time on
each of its connections."""


@dataclass(slots=True, eq=False)
class HeldCall:
    """A call that holds a thread."""

    context: grpc.ServicerContext
    peer: str
    """Host and port as gRPC names them; gRPC drops them with the connection."""
    host: str
    started_at: float
    """Seconds of the clock."""
    has_message: bool = False
    is_ended: bool = False
    """True once the call was ended, to make room or because it lasted too long."""

    def end(self) -> None:
        """Cancel the call; every wait of its thread sees that."""
        self.is_ended = True
        self.context.cancel()


class HeldCalls:
    """Counts calls by host and ends those that last too long. Safe to use from any thread."""

    def __init__(
        self,
        *,
        most: int,
        most_of_a_host: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold nothing yet.

        Args:
            most: calls at once; fewer than the server has threads.
            most_of_a_host: calls at once of one address.
            clock: seconds.
        """
        self._most, self._most_of_a_host, self._clock = most, most_of_a_host, clock
        self._lock = threading.Lock()
        self._held: dict[HeldCall, None] = {}  # in the order of starting
        self._of_host: Counter[str] = Counter()

    @contextmanager
    def hold(self, context: grpc.ServicerContext) -> Iterator[HeldCall]:
        """Count a call while it lasts.

        Raises:
            CallRefused: the limit is reached, and no call can be ended for this one.
        """
        peer = context.peer()
        call = HeldCall(context, peer, host_of(peer), self._clock())
        with self._lock:
            others = self._in_the_way(call.host)
            gives_way = None if others is None else self._least_missed(others, peer)
            if others is not None and gives_way is None:
                raise CallRefused(
                    f"calls of {call.host} at once: got more than {self._most_of_a_host}, or "
                    f"{self._most} of all hosts, wanted fewer",
                    grpc.StatusCode.UNAVAILABLE,
                )
            if gives_way is not None:
                self._forget(gives_way)
            self._held[call] = None
            self._of_host[call.host] += 1
        if gives_way is not None:
            gives_way.end()
        try:
            yield call
        finally:
            with self._lock:
                self._forget(call)

    def end_overdue(self) -> None:
        """End the calls that have lasted too long.

        Called for every incoming call before it needs a thread, so the next caller empties a full
        server and no thread has to watch it.
        """
        now, overdue = self._clock(), []
        with self._lock:
            for call in self._held:
                lasts_s = now - call.started_at
                if lasts_s <= MESSAGE_S:
                    break  # so do all after it
                if lasts_s > CALL_S or not call.has_message:
                    overdue.append(call)
            for call in overdue:
                self._forget(call)
        for call in overdue:
            call.end()

    # Everything below is called under the lock.

    def _in_the_way(self, host: str) -> list[HeldCall] | None:
        """Return the calls of which one must end for a new one of ``host``; None: no need."""
        if self._of_host[host] >= self._most_of_a_host:
            return [call for call in self._held if call.host == host]
        if len(self._held) >= self._most:
            greediest, _ = self._of_host.most_common(1)[0]
            return [call for call in self._held if call.host == greediest]
        return None

    def _least_missed(self, calls: Sequence[HeldCall], newcomer: str) -> HeldCall | None:
        """Return the one to end for a ``newcomer``, a connection; None: there is none.

        The oldest without a message if that is late, else the oldest of the connection with most.
        """
        now = self._clock()
        for call in calls:
            if not call.has_message and now - call.started_at > _LATE_S:
                return call
        of_peer = Counter(call.peer for call in calls)
        greediest, count = of_peer.most_common(1)[0]
        # Calls with their message may take half a second to end, so no connection gains many.
        if count <= _FEW or of_peer[newcomer] >= _FEW:
            return None
        return next(call for call in calls if call.peer == greediest)

    def _forget(self, call: HeldCall) -> None:
        if call not in self._held:
            return
        del self._held[call]
        self._of_host[call.host] -= 1
        if not self._of_host[call.host]:
            del self._of_host[call.host]


def host_of(peer: str) -> str:
    """Return the host that a caller counts for: its address, its IPv6 network, or this machine.

    Args:
        peer: as gRPC names it, ``ipv4:10.0.0.1:7`` or ``ipv6:%5B2001:db8::1%5D:7``.
    """
    kind, _, rest = unquote(peer).partition(":")
    address = rest.rpartition(":")[0].strip("[]")
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return kind  # a socket of this machine
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    if found.is_loopback:
        return "loopback"  # all of its addresses belong to the same users
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(ipaddress.ip_network((int(found), 64), strict=False))

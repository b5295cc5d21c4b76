"""Bounds on the calls that hold a thread of the server: how many of one host, and for how long.

Without them one worker could hold all threads: with calls whose message never comes, with the same
long poll many times, or with weights that it does not read.
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
"""From a call's headers to its message. A worker sends both together."""
CALL_S = 120.0
"""From a call's headers to its end. Long polls end after 60 s; a worker gives up a download of
weights after 30 s."""
_LATE_S = 1.0
"""From a call's headers to its message, when others lack room."""
_FEW = 2
"""Calls of one connection, which are not ended for the sake of others. A worker has one at a time
on each of its connections."""


@dataclass(slots=True, eq=False)
class HeldCall:
    """A call that holds a thread."""

    context: grpc.ServicerContext
    peer: str
    """Host and port as gRPC names them, which it forgets with the connection."""
    host: str
    started_at: float
    """Seconds of the clock."""
    has_message: bool = False
    is_ended: bool = False
    """It is to make room, or has lasted too long."""

    def end(self) -> None:
        """Cancel the call; whatever its thread waits for sees that."""
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
            CallRefused: there are as many already, and none that has to give way.
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

        To be called for every call that comes in, before it needs a thread: a full server is
        emptied by whoever asks next, and no thread has to watch it.
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
        """Return the calls of which one has to give way to another of ``host``; None: no need."""
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
        # What has its message may take half a second to end: no connection gets many by that.
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
    """Return whom a caller is counted with: its address, its IPv6 network, or this machine.

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
        return "loopback"  # all of its addresses are the same users'
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(ipaddress.ip_network((int(found), 64), strict=False))

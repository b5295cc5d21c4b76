"""Copies bytes between two connections, in both directions, after a first line.

Shared by replay's relay and its clients.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  Tasks reads each one's failure
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any, cast

ACCEPTED = "ok"
"""The relay's answer to a good token; any other answer is the reason of a refusal."""

_LONGEST_LINE = 1_024
_BUFFERED_BYTES = 1 << 20
_LAST_BYTES_S = 10.0
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))

log = logging.getLogger(__name__)


class PipeEnd(asyncio.Protocol):
    """One of the two connections; buffers data until it is joined to the other."""

    def __init__(self, *, has_line: bool) -> None:
        """Expect a first line from the other side if ``has_line``."""
        self.line: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        """The line, without its end; None: the connection is lost or the line is too long."""
        self._lost = asyncio.Event()
        self.when_lost: Callable[[], None] = lambda: None
        self._early, self._other = bytearray(), cast("PipeEnd | None", None)
        self._transport = cast("asyncio.Transport | None", None)
        if not has_line:
            self.line.set_result(b"")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_BUFFERED_BYTES)
        _set_options(self._transport.get_extra_info("socket"))
        if self.line.done():
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Pass the data on."""
        if self._other is not None:
            self._other.write(data)
            return
        self._early += data
        line, end, rest = self._early.partition(b"\n")
        if self.line.done() or not (end or len(line) > _LONGEST_LINE):
            return
        self.line.set_result(bytes(line) if end and len(line) <= _LONGEST_LINE else None)
        self._early = rest
        self.read_on(False)

    def pause_writing(self) -> None:
        """Stop reading from the other connection: this one is too slow."""
        if self._other is not None:
            self._other.read_on(False)

    def resume_writing(self) -> None:
        """Read on."""
        if self._other is not None:
            self._other.read_on(True)

    def connection_lost(self, error: Exception | None) -> None:
        """Close the other connection too: Reverb's client then sees that its server is gone."""
        del error
        if not self.line.done():
            self.line.set_result(None)
        if self._other is not None:
            self._other.close()
        self._lost.set()
        self.when_lost()

    def join(self, other: PipeEnd) -> None:
        """Copy in both directions between this connection and ``other`` from now on."""
        for one, another in ((self, other), (other, self)):
            one._other = another
            another.write(bytes(one._early))
            one._early = bytearray()
            one.read_on(True)
        for one, another in ((self, other), (other, self)):
            if one._transport is None or one._transport.is_closing():
                another.close()

    def write(self, data: bytes) -> None:
        """Send."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def read_on(self, is_wanted: bool) -> None:
        """Read from the connection, or leave incoming data in the kernel."""
        if self._transport is None or self._transport.is_closing():
            return
        if is_wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def close(self) -> None:
        """Close, after ten seconds even if the other side does not read the remaining data."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            asyncio.get_running_loop().call_later(_LAST_BYTES_S, self._transport.abort)

    async def wait_lost(self) -> None:
        """Return when the connection is lost, or at once if there never was one."""
        if self._transport is not None:
            await self._lost.wait()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


def _set_options(connection: socket.socket) -> None:
    """Send data at once; end a connection whose other host is away for a minute."""
    if connection.family == socket.AF_INET:
        # asyncio does so only if the socket was made with this protocol's number.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


class Tasks:
    """Tasks whose unexpected failures are logged with their tracebacks.

    A failure does not end the process, or every client that connects could end it.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().set_exception_handler(self._note)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start ``work``."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("replay's relay: a connection failed", exc_info=error)

    @staticmethod
    def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        log.error("replay's relay: %s", context["message"], exc_info=context.get("exception"))

"""The relay to replay for other hosts: TLS, then one line with the workers' token, then bytes.

Reverb has neither a login nor TLS. Its server listens on loopback, and this relay in the same
process listens for other hosts. A connection without the token costs little: it is closed after ten
seconds, or earlier if many are open, so that connections with a token always get through.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  Tasks reads each one's failure
import contextlib
import errno
import hmac
import logging
import resource
import socket
import ssl
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self

from efficientzero.config import ClusterConfig
from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.credentials import (
    CredentialsError,
    credentials_folder,
    has_tls,
    read_read_token,
    read_token,
    server_tls,
)
from efficientzero.rpc.refusals import Refusals
from replay.relay.byte_pipe import ACCEPTED, PipeEnd, Tasks
from replay.service import PortTakenError, check_private

_BACKLOG = 1_024
_LOOK_S = 0.2
_FDS_EACH = 3
"""File descriptors of one connection: from outside, to Reverb, and Reverb's own."""
_OTHER_FDS, _MOST_FDS, _LEAST_JOINED = 512, 32_768, 64
_CONNECT_S = 5.0
_LAST_WORD_S = 1.0
_LOOPBACK = IPv4Network("127.0.0.0/8")
_GONE = "it left, or sent no line of a token's length"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits for connections without a token."""

    token_s: float = 10.0
    """Seconds from the connection to the token's line."""
    most_without_token: int = 256
    """Connections in all; 0.3 MB each. Beyond it, the oldest of the peer with most is closed."""
    youngest_s: float = 0.5
    """Seconds that every connection has in any case."""


def relayed(
    cluster: ClusterConfig, port: int | None, *, to: str, stop: StopSignal
) -> AbstractContextManager[object]:
    """Return the relay at ``port`` in front of ``to``; a null context if there is none.

    Raises:
        PublicAddress: the address is not allowed by ``cluster.replay_network``.
        CredentialsError, PortTakenError, OSError: as ``Relay``.
    """
    if port is None:
        return contextlib.nullcontext()
    check_private(cluster.bind_host, cluster.replay_networks, is_relayed=True)
    folder = credentials_folder()
    if folder is None or not has_tls(folder):
        raise CredentialsError(
            f"cluster.bind_host: got {cluster.bind_host}, where others reach replay, and no folder "
            "with learner.pem, learner.key and token; wanted --credentials DIR, or in a private "
            "network --cluster.no-replay-tls"
        )
    # Processes of this host connect from loopback; its other users have no token.
    peers = (*cluster.replay_networks, _LOOPBACK) if cluster.replay_network else ()
    return Relay(f"{cluster.bind_host}:{port}", to, stop, folder=folder, networks=peers)


class Relay:
    """Listens at one address and copies to another. Use as a context manager."""

    def __init__(
        self,
        address: str,
        target: str,
        stop: StopSignal,
        *,
        folder: Path,
        networks: Sequence[IPv4Network] = (),
        limits: Limits = Limits(),
    ) -> None:
        """Listen from now on, in a thread.

        Args:
            address: ``host:port`` to listen at.
            target: ``host:port`` of Reverb's server, which need not run yet.
            stop: set if the relay fails.
            folder: of the credentials.
            networks: of allowed peers; empty: all peers.
            limits: for connections without a token.

        Raises:
            CredentialsError: a file is missing or wrong.
            PortTakenError: another process listens there.
            OSError: the address cannot be used.
        """
        self._tls = server_tls(folder)
        self._token = read_token(folder).encode()
        self._read_token = (read_read_token(folder) or "").encode()
        host, _, port = target.rpartition(":")
        self._target, self._networks, self._limits = (host, int(port)), networks, limits
        self._refusals = Refusals(line="refused a connection of {peer}: {cause}")
        self._waiting: dict[asyncio.Task[None], tuple[str, float]] = {}  # peer, since when
        self._joined: set[PipeEnd] = set()
        most = (_raised_fd_limit() - _OTHER_FDS) // _FDS_EACH
        self._most_joined = max(_LEAST_JOINED, most)
        self._listener = _listen(address)
        self._is_closed = False
        host, port_of_it = self._listener.getsockname()
        self.address = f"{host}:{port_of_it}"
        """The address it listens at, with the actual port."""
        self._thread = guarded_thread(self._run, stop, name="replay-relay")
        log.info("relay at %s, with TLS and the workers' token", self.address)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Break all connections."""
        self._is_closed = True
        self._thread.join(5.0)

    def _run(self) -> None:
        with self._listener:
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._tasks = Tasks()
        accepting = asyncio.ensure_future(self._accept())
        while not (self._is_closed or accepting.done()):
            await asyncio.sleep(_LOOK_S)
        if accepting.done():
            accepting.result()
        accepting.cancel()
        for end in list(self._joined):
            end.abort()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, (host, port) = await loop.sock_accept(self._listener)
            except OSError as error:
                # Broken by its peer, or no file descriptor left: both are temporary.
                self._refusals.note("ipv4:any:0", f"it cannot be taken ({error.strerror})")
                await asyncio.sleep(_LOOK_S)
                continue
            peer = f"ipv4:{host}:{port}"
            if self._networks and not any(IPv4Address(host) in net for net in self._networks):
                self._refusals.note(peer, "it is outside cluster.replay_network")
                connection.close()
                continue
            await self._make_room()
            task = self._tasks.start(self._take(connection, peer))
            self._waiting[task] = (host, time.monotonic())
            task.add_done_callback(lambda done: self._waiting.pop(done, None))

    async def _make_room(self) -> None:
        """Close the oldest connection of the peer with most of those without a token."""
        while len(self._waiting) >= self._limits.most_without_token:
            [(most, _)] = Counter(host for host, _ in self._waiting.values()).most_common(1)
            since, oldest = min(
                ((since, task) for task, (host, since) in self._waiting.items() if host == most),
                key=lambda found: found[0],
            )
            if time.monotonic() - since < self._limits.youngest_s:
                await asyncio.sleep(0.02)
                continue
            self._refusals.note(f"ipv4:{most}:0", "it holds many connections without a token")
            oldest.cancel()
            self._waiting.pop(oldest)

    async def _take(self, connection: socket.socket, peer: str) -> None:
        """Accept one connection, or send the reason of a refusal."""
        inbound = PipeEnd(has_line=True)
        is_joined = False
        try:
            await self._check(inbound, connection)
            await self._join(inbound)
            is_joined = True
        except _Refused as refused:
            self._refusals.note(peer, str(refused))
            inbound.write(f"{refused}\n".encode())
            inbound.close()
            # It counts as open until it is closed: TLS also waits for the other side to close.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(inbound.wait_lost(), _LAST_WORD_S)
        finally:
            if not is_joined:
                inbound.abort()

    async def _check(self, inbound: PipeEnd, connection: socket.socket) -> None:
        """Wait for the token."""
        limit_s, connect = self._limits.token_s, asyncio.get_running_loop().connect_accepted_socket
        try:
            async with asyncio.timeout(limit_s):
                await connect(lambda: inbound, connection, ssl=self._tls)
                line = await inbound.line
        except TimeoutError:
            raise _Refused(f"got no token within {limit_s:g} s") from None
        except ssl.SSLError:
            raise _Refused("it speaks no TLS, or not with this run's certificate") from None
        except OSError:
            raise _Refused(_GONE) from None
        if line is None:
            raise _Refused(_GONE)
        # Both are always compared, so that the time does not depend on the token.
        may_work, may_read = (
            hmac.compare_digest(line, token) for token in (self._token, self._read_token)
        )
        if not may_work:
            got = "the token for reading" if may_read and self._read_token else "a wrong token"
            raise _Refused(f"got {got}, wanted the workers'")

    async def _join(self, inbound: PipeEnd) -> None:
        """Open the connection to Reverb and copy from now on."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting.pop(task, None)  # it has the token
        if len(self._joined) >= self._most_joined:
            raise _Refused(f"{self._most_joined} connections are open, see ulimit -n")
        outbound = PipeEnd(has_line=False)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await asyncio.get_running_loop().create_connection(lambda: outbound, *self._target)
        except OSError:  # TimeoutError is one
            raise _Refused("replay does not listen yet, or any more") from None
        self._joined.add(inbound)
        inbound.when_lost = lambda: self._joined.discard(inbound)
        inbound.write(f"{ACCEPTED}\n".encode())
        inbound.join(outbound)


class _Refused(Exception):
    """The reason why a connection is refused."""


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(f"port {port}: another process listens there") from error
        raise
    return listener


def _raised_fd_limit() -> int:
    """Raise the limit of file descriptors to the maximum and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _MOST_FDS) if hard != resource.RLIM_INFINITY else _MOST_FDS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted) if soft != resource.RLIM_INFINITY else wanted

"""The client side of the relay: Reverb's client, which has no TLS, connects here in its process.

Used by the roles through ``reached_through_relays``. For each relay there is one socket in Linux's
abstract namespace; for each connection to it one with TLS and the token is opened. If that one
cannot be opened or breaks, the connection is closed: Reverb's client sees that its server is gone.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  Tasks reads each one's failure
import dataclasses
import logging
import os
import secrets
import socket
import ssl
import struct
from pathlib import Path

from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.credentials import (
    SERVER_NAME,
    CredentialsError,
    client_tls,
    credentials_folder,
    has_tls,
    read_token,
)
from efficientzero.rpc.refusals import Refusals
from efficientzero.rpc.texts import clean
from efficientzero.runs.run_folder import RELAYED, RunInfo
from replay.info import WAY_TO_RELAY
from replay.relay.byte_pipe import ACCEPTED, PipeEnd, Tasks

_CONNECT_S = 10.0
_BACKLOG = 128
_CREDENTIALS = struct.Struct("3i")  # process, user, group
_LONGEST = 200
_AGAIN_S = 0.2

log = logging.getLogger(__name__)


def reached_through_relays(run: RunInfo, stop: StopSignal) -> RunInfo:
    """Return the run with an address of replay that Reverb's client can use in this process.

    A relay's address is replaced; the address of replay on this host stays as it is.

    Raises:
        CredentialsError: replay is behind a relay, and a credentials file is missing or wrong.
    """
    if not run.replay_address.startswith(RELAYED):
        return run
    folder = credentials_folder()
    if folder is None or not has_tls(folder):
        raise CredentialsError(
            f"replay at {run.replay_address} wants TLS and a token, and there is no folder with "
            "ca.pem and token; wanted --credentials DIR"
        )
    way = RelayClient(run.replay_address, stop, folder=folder).address
    return dataclasses.replace(run, replay_address=way)


class RelayClient:
    """Accepts this user's plain connections and passes them on, in a thread."""

    def __init__(self, relay: str, stop: StopSignal, *, folder: Path) -> None:
        """Listen from now on.

        Args:
            relay: the relay's address, ``tls://host:port``.
            stop: ends the thread, and is set if the thread fails.
            folder: of the credentials.

        Raises:
            CredentialsError: a file is missing or wrong.
        """
        self._tls, self._token = client_tls(folder), read_token(folder).encode()
        self._stop, self._failures = stop, Refusals(line="no way to replay at {peer}: {cause}")
        self._relay = relay.removeprefix(RELAYED)
        # Logs show this name, so it ends with the relay's address.
        name = f"efficientzero-{secrets.token_hex(8)}-{self._relay}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"\0{name}")
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self.address = f"{WAY_TO_RELAY}{name}"
        """The address for Reverb's client in place of the relay's."""
        guarded_thread(self._run, stop, name="relay-client")

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._tasks = Tasks()
        # Runs until the process ends: after a stop, remaining data is still sent.
        await self._accept()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # no file descriptor left; a temporary state
                self._failures.note(f"{self._relay}:0", str(error))
                await asyncio.sleep(_AGAIN_S)
                continue
            if _user_of(connection) != os.geteuid():
                self._failures.note(f"{self._relay}:0", "another user of this machine asked for it")
                connection.close()
                continue
            self._tasks.start(self._pass_on(connection))

    async def _pass_on(self, connection: socket.socket) -> None:
        """Open the connection to the relay and copy from now on, or close."""
        inbound, outbound = PipeEnd(has_line=False), PipeEnd(has_line=True)
        is_joined = False
        try:
            async with asyncio.timeout(_CONNECT_S):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: inbound, connection
                )
                answer = await self._ask(outbound)
            if answer == ACCEPTED:
                inbound.join(outbound)
                is_joined = True
            else:
                self._failures.note(f"{self._relay}:0", f"its relay says: {answer}")
        except TimeoutError:
            self._failures.note(f"{self._relay}:0", f"no answer within {_CONNECT_S:g} s")
        except OSError as error:
            self._failures.note(f"{self._relay}:0", _in_words(error))
        finally:
            if not is_joined:
                outbound.abort()
                inbound.abort()

    async def _ask(self, outbound: PipeEnd) -> str:
        host, _, port = self._relay.rpartition(":")
        await asyncio.get_running_loop().create_connection(
            lambda: outbound, host, int(port), ssl=self._tls, server_hostname=SERVER_NAME
        )
        outbound.write(self._token + b"\n")
        line = await outbound.line
        return "nothing" if line is None else clean(line.decode(errors="replace"), most=_LONGEST)


def _user_of(connection: socket.socket) -> int:
    """Return the user id of a unix socket's peer."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


def _in_words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not of this run's CA, or has expired ({error.verify_message})"
    return str(error) or "closed by the other side"

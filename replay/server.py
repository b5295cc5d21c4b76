"""The replay service: Reverb's server on loopback, alone on its port, until a stop is asked for.

Called by ``replay.__main__``. Everything it stores it loses when it ends.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from collections.abc import Callable, Iterator

from efficientzero.config import ReplayConfig
from efficientzero.runtime import StopSignal
from replay import reverb_lite
from replay.loopback import LoopbackBind, listening_addresses
from replay.tables import build_tables

_LOOPBACK = "127.0.0.1"

log = logging.getLogger(__name__)


class PortTakenError(Exception):
    """Somebody else serves on the port."""


class _NoCheckpointer:
    """Reverb's default would leave an empty folder in /tmp for every server."""

    def internal_checkpointer(self) -> None:
        return None


def serve(
    config: ReplayConfig,
    address: str,
    stop: StopSignal,
    *,
    in_order: bool = False,
    every_second: Callable[[], None] = lambda: None,
) -> None:
    """Serve on ``address`` (``127.0.0.1:port``) until a stop is asked for.

    Args:
        config: sizes and priorities of the tables.
        address: where to listen.
        stop: ends the service.
        in_order: steps leave in order of arrival, as ``build_tables`` says.
        every_second: called about once a second while serving.

    Raises:
        PortTakenError: The port is in use.
        RuntimeError: The service could not be kept on loopback.
    """
    host, _, port_text = address.rpartition(":")
    if host != _LOOPBACK:
        raise ValueError(f"replay address: got {address}, wanted {_LOOPBACK}:port (no login there)")
    port = int(port_text)
    reverb = reverb_lite.load()
    with _port_to_itself(port):
        # Named, so that the redirection lives as long as the server.
        redirection = LoopbackBind(sys.modules["reverb.libpybind"].__file__ or "")
        server = reverb.Server(
            build_tables(config, in_order=in_order), port=port, checkpointer=_NoCheckpointer()
        )
        try:
            listening = listening_addresses(port)
            if listening != [_LOOPBACK]:
                raise RuntimeError(f"port {port}: got listeners {listening}, wanted {_LOOPBACK}")
            log.info("serving on %s", address)
            while not stop.wait(1.0):
                every_second()
        finally:
            server.stop()
            del redirection


@contextlib.contextmanager
def _port_to_itself(port: int) -> Iterator[None]:
    """Hold ``port`` against other replay services and refuse one that anybody listens on.

    gRPC sets SO_REUSEPORT: a second server would start without complaint and get half of the
    clients. The name in Linux's abstract socket namespace is a lock that ends with the process.
    """
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(f"\0efficientzero-replay-{port}")
        except OSError as error:
            raise PortTakenError(f"port {port}: another replay service runs there") from error
        if listening_addresses(port):
            raise PortTakenError(f"port {port}: somebody listens there already")
        yield

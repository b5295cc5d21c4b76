"""A connection that takes its time to come about is one: a busy host, a long way, TLS."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc
import pytest

from efficientzero.rpc.channel import open_channel
from efficientzero.rpc.credentials import CREDENTIALS_VARIABLE

PATIENCE_S = 60.0
DELAY_S = 0.4
"""Of each message, either way; four times what a connection attempt once had."""


def copy(source, target):
    with suppress(OSError):
        while data := source.recv(1 << 16):
            time.sleep(DELAY_S)
            target.sendall(data)


@pytest.fixture
def slow_address():
    """Return the address of a server behind a slow connection."""
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("X", {"Echo": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def pass_on():
        with suppress(OSError):
            while True:
                inbound, _ = listener.accept()
                outbound = socket.create_connection(("127.0.0.1", port))
                connections.extend((inbound, outbound))
                for ends in ((inbound, outbound), (outbound, inbound)):
                    threading.Thread(target=copy, args=ends, daemon=True).start()

    threading.Thread(target=pass_on, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    for connection in (listener, *connections):
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
    server.stop(0).wait(PATIENCE_S)


def test_the_first_call_waits_for_a_slow_connection(slow_address, monkeypatch):
    monkeypatch.delenv(CREDENTIALS_VARIABLE, raising=False)
    with open_channel(slow_address) as channel:
        assert channel.unary_unary("/X/Echo")(b"there", timeout=PATIENCE_S) == b"there"

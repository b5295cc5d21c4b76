"""Replay's relay and its clients: who is let in, what others may hold, how a break looks."""

import logging
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network
from pathlib import Path

import psutil
import pytest

from efficientzero.config.fields import ClusterConfig
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.credentials import (
    CREDENTIALS_VARIABLE,
    SERVER_NAME,
    client_tls,
    read_read_token,
    read_token,
)
from replay.relay import server as relay_module
from replay.relay.byte_pipe import ACCEPTED
from replay.relay.client import RelayClient
from replay.relay.server import Limits, Relay, relayed
from tests.integration.learner.test_strangers import RELAY, rights_on_the_page

ROOT = Path(__file__).parents[4]
PATIENCE_S = 60.0
QUICK = Limits(token_s=2.0, most_without_token=8, youngest_s=0.05)


def make_credentials(folder):
    script = ROOT / "deploy" / "scripts" / "make_certs.sh"
    subprocess.run([script, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def credentials(tmp_path_factory):
    return make_credentials(tmp_path_factory.mktemp("credentials"))


class Service:
    """Stands where Reverb would: says hello, then sends everything back."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = []
        self.reads = threading.Event()
        self.reads.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection):
        connection.sendall(b"hello")
        while True:
            self.reads.wait(PATIENCE_S)
            try:
                data = connection.recv(1 << 16)
                connection.sendall(data)
            except OSError:
                return
            if not data:
                return

    def close(self):
        for connection in (self.listener, *self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@pytest.fixture
def service():
    service = Service()
    yield service
    service.close()


@contextmanager
def relay_to(service, credentials, **options):
    stop = StopSignal()
    with Relay("127.0.0.1:0", service.address, stop, folder=credentials, **options) as relay:
        yield relay
    assert stop.failure is None


def plain(relay):
    host, _, port = relay.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def connect(relay, credentials):
    return client_tls(credentials).wrap_socket(plain(relay), server_hostname=SERVER_NAME)


def read_all(connection):
    """Return all that comes until the other side closes."""
    got = b""
    try:
        while data := connection.recv(1 << 16):
            got += data
    except (ConnectionError, ssl.SSLError):
        pass
    return got


def read_exactly(connection, count):
    got = b""
    while len(got) < count:
        data = connection.recv(count - len(got))
        assert data, got
        got += data
    return got


WELCOME = f"{ACCEPTED}\nhello".encode()


def test_with_the_workers_token_bytes_go_both_ways(service, credentials):
    sent = bytes(range(256)) * 1_000
    with relay_to(service, credentials) as relay, connect(relay, credentials) as connection:
        # What follows the token at once belongs to the service.
        connection.sendall(read_token(credentials).encode() + b"\nfirst")
        assert read_exactly(connection, len(WELCOME) + 5) == WELCOME + b"first"
        for _ in range(20):
            connection.sendall(sent)
            assert read_exactly(connection, len(sent)) == sent


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (lambda folder: b"0" * 64, b"got a wrong token, wanted the workers'"),
        (lambda folder: b"", b"got a wrong token, wanted the workers'"),
        (lambda folder: b"\xff\x00", b"got a wrong token, wanted the workers'"),
        (lambda folder: read_token(folder).encode() + b" ", b"got a wrong token"),
        (lambda folder: read_read_token(folder).encode(), b"got the token for reading, wanted"),
    ],
)
def test_any_other_token_gets_a_reason_and_nothing_of_replay(service, credentials, line, why):
    with relay_to(service, credentials) as relay, connect(relay, credentials) as connection:
        connection.sendall(line(credentials) + b"\nPRI * HTTP/2.0")
        got = read_all(connection)
    assert got.startswith(why)
    assert b"hello" not in got
    assert not service.connections


def test_who_is_refused_and_stays_is_closed_too(service, credentials):
    with relay_to(service, credentials) as relay:
        port, held = int(relay.address.rpartition(":")[2]), []
        for _ in range(5):
            connection = connect(relay, credentials)
            connection.sendall(b"0" * 64 + b"\n")
            held.append(connection)  # and neither reads nor closes
        deadline = time.monotonic() + PATIENCE_S
        while any(
            found.laddr and found.laddr.port == port and found.status == "ESTABLISHED"
            for found in psutil.Process().net_connections("tcp4")
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for connection in held:
            connection.close()


def test_the_page_says_who_passes_the_relay(service, credentials):
    first_lines = {
        "no token": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "wrong token": b"0" * 64 + b"\n",
        "read token": read_read_token(credentials).encode() + b"\n",
        "worker token": read_token(credentials).encode() + b"\n",
    }
    passes = {}
    with relay_to(service, credentials) as relay:
        for caller, line in first_lines.items():
            with connect(relay, credentials) as connection:
                connection.sendall(line)
                passes[caller] = connection.recv(2) == b"ok"
    assert passes == rights_on_the_page()[RELAY]


def test_a_line_without_end_is_closed(service, credentials):
    with relay_to(service, credentials) as relay, connect(relay, credentials) as connection:
        with suppress(OSError):  # closed before all is sent
            connection.sendall(b"x" * 100_000)
        assert b"hello" not in read_all(connection)
    assert not service.connections


def test_who_speaks_no_tls_gets_nothing(service, credentials, caplog):
    with caplog.at_level(logging.WARNING), relay_to(service, credentials) as relay:
        for _ in range(20):
            with plain(relay) as connection:
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                assert b"hello" not in read_all(connection)
    assert not service.connections
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if "it speaks no TLS" in line] == [
        "refused a connection of ipv4:127.0.0.1: it speaks no TLS, or not with this run's "
        "certificate"
    ]


@pytest.mark.parametrize("has_tls", [False, True])
def test_who_shows_no_token_is_closed_in_time(service, credentials, has_tls):
    with (
        relay_to(service, credentials, limits=QUICK) as relay,
        connect(relay, credentials) if has_tls else plain(relay) as connection,
    ):
        got = read_all(connection)
    assert got == (b"got no token within 2 s\n" if has_tls else b"")
    assert not service.connections


def test_connections_without_a_token_hold_nobody_up(service, credentials):
    limits = Limits(token_s=PATIENCE_S, most_without_token=8, youngest_s=0.01)
    with relay_to(service, credentials, limits=limits) as relay:
        silent = [plain(relay) for _ in range(100)]
        started = time.monotonic()
        with connect(relay, credentials) as connection:
            connection.sendall(read_token(credentials).encode() + b"\n")
            assert read_exactly(connection, len(WELCOME)) == WELCOME
            # None of the silent ones has run out of time yet.
            assert time.monotonic() - started < limits.token_s
            assert len(relay._waiting) <= 8
            # Those with a token are not counted among them, and stay.
            silent += [plain(relay) for _ in range(20)]
            connection.sendall(b"still there")
            assert read_exactly(connection, 11) == b"still there"
        for one in silent:
            one.close()


def test_the_peer_with_most_connections_makes_room(service, credentials):
    limits = Limits(token_s=PATIENCE_S, most_without_token=8, youngest_s=0.01)
    with relay_to(service, credentials, limits=limits) as relay:
        other = socket.create_connection(
            ("127.0.0.1", int(relay.address.rpartition(":")[2])),
            timeout=0.5,
            source_address=("127.0.0.9", 0),
        )
        time.sleep(0.05)
        silent = [plain(relay) for _ in range(30)]
        assert read_all(silent[0]) == b""
        with pytest.raises(TimeoutError):
            other.recv(1)
        for one in (*silent, other):
            one.close()


def test_peers_outside_the_named_networks_are_closed(service, credentials, caplog):
    networks = (IPv4Network("10.0.0.0/8"),)
    caplog.set_level(logging.WARNING)
    with relay_to(service, credentials, networks=networks) as relay, plain(relay) as connection:
        assert read_all(connection) == b""
    assert "it is outside cluster.replay_network" in caplog.text


def test_the_named_networks_and_this_host_reach_the_relay(service, credentials, monkeypatch):
    made = []
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(credentials))
    monkeypatch.setattr(relay_module, "check_private", lambda *args, **options: made.append(args))
    cluster = ClusterConfig(bind_host="127.0.0.1", replay_network="10.0.0.0/8")
    with relayed(cluster, 0, to=service.address, stop=StopSignal()) as relay:
        assert relay._networks == (IPv4Network("10.0.0.0/8"), IPv4Network("127.0.0.0/8"))
        with connect(relay, credentials) as connection:
            connection.sendall(read_token(credentials).encode() + b"\n")
            assert read_exactly(connection, len(WELCOME)) == WELCOME
    assert made == [("127.0.0.1", (IPv4Network("10.0.0.0/8"),))]


def test_a_side_that_does_not_read_holds_the_other_back(service, credentials):
    service.reads.clear()
    with relay_to(service, credentials) as relay, connect(relay, credentials) as connection:
        connection.sendall(read_token(credentials).encode() + b"\n")
        assert read_exactly(connection, len(WELCOME)) == WELCOME
        connection.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 200 << 20:
                sent += connection.send(bytes(1 << 16))
        service.reads.set()


def test_a_lost_service_is_lost_to_the_other_side(service, credentials):
    with relay_to(service, credentials) as relay, connect(relay, credentials) as connection:
        connection.sendall(read_token(credentials).encode() + b"\n")
        assert read_exactly(connection, len(WELCOME)) == WELCOME
        service.close()
        assert read_all(connection) == b""
        with connect(relay, credentials) as again:
            again.sendall(read_token(credentials).encode() + b"\n")
            assert read_all(again) == b"replay does not listen yet, or any more\n"


def way_through(client, relay):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_S)
    name = client.address.removeprefix("unix-abstract:")
    connection.connect("\0" + name)
    return connection


def client_of(relay, credentials):
    return RelayClient(f"tls://{relay.address}", StopSignal(), folder=credentials)


def test_a_client_needs_neither_tls_nor_token(service, credentials):
    with relay_to(service, credentials) as relay:
        client = client_of(relay, credentials)
        assert client.address.endswith(relay.address)
        with way_through(client, relay) as connection:
            connection.sendall(b"there and back")
            assert read_exactly(connection, 19) == b"hellothere and back"
    # The relay is gone, and comes back.
    with way_through(client, relay) as connection:
        assert read_all(connection) == b""


def test_a_client_shows_its_token_to_nobody_else(service, credentials, tmp_path, caplog):
    others = make_credentials(tmp_path / "others")
    caplog.set_level(logging.WARNING)
    with (
        relay_to(service, others) as relay,
        way_through(client_of(relay, credentials), relay) as connection,
    ):
        assert read_all(connection) == b""
    assert not service.connections
    assert f"no way to replay at {relay.address}: its certificate is not of this run" in caplog.text


def test_another_user_of_the_host_gets_no_way_through(service, credentials, monkeypatch, caplog):
    monkeypatch.setattr("replay.relay.client.os.geteuid", lambda: 4_711)
    caplog.set_level(logging.WARNING)
    with (
        relay_to(service, credentials) as relay,
        way_through(client_of(relay, credentials), relay) as connection,
    ):
        assert read_all(connection) == b""
    assert not service.connections
    assert "another user of this machine" in caplog.text

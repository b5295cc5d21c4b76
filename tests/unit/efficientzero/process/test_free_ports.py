"""A free port is not one that the kernel may give to an outgoing connection."""

import socket
from pathlib import Path

import pytest

from deploy.checks.preflight import addresses
from efficientzero.config.fields import Config
from efficientzero.process import free_ports
from efficientzero.process.free_ports import bind_free_port, free_port
from replay.service.address import with_port


def test_free_ports_of_a_run_are_below_the_ephemeral_range():
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    replay, learner = addresses(Config())
    for address in (replay, learner, with_port("127.0.0.1:0")):
        assert 10_000 <= int(address.rpartition(":")[2]) < first_ephemeral


def test_a_taken_port_is_no_free_one(monkeypatch):
    with socket.socket() as taken:
        port = bind_free_port(taken, "127.0.0.1")
        monkeypatch.setattr(free_ports, "_LOWEST", port)
        monkeypatch.setattr(free_ports, "_ephemeral_start", lambda: port + 1)
        assert free_port() != port


@pytest.mark.parametrize("text", ["1024 65535", "", "?"])
def test_without_room_below_the_range_any_free_port_will_do(monkeypatch, tmp_path, text):
    (tmp_path / "range").write_text(text)
    monkeypatch.setattr(free_ports, "_EPHEMERAL", tmp_path / "range")
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_a_host_that_is_not_here_is_an_error():
    with pytest.raises(OSError, match="assign requested address"):
        free_port("192.0.2.1")

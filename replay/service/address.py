"""Makes Reverb's server listen on one address instead of on all of them.

Reverb has no authentication and binds ``[::]`` with no option to change it; gRPC inside of it calls
the C library's ``bind``, which is replaced. Called by ``server.py`` only; knows nothing of replay.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from efficientzero.process.free_ports import free_port
from efficientzero.process.runtime import PlainError

ANY = "0.0.0.0"

_TCP_LISTEN = "0A"
_OWN_ADDRESS = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")


class PublicAddress(PlainError):
    """Replay must not be reachable by others: every client can read and write all of it."""

    is_permanent = True


def check_private(
    host: str,
    networks: Sequence[ipaddress.IPv4Network] = (),
    *,
    is_relayed: bool = False,
    own: Path = Path("/proc/net/fib_trie"),
) -> None:
    """Check that replay may listen at ``host``, an IPv4 address that outsiders cannot reach.

    Args:
        host: the address that it or its relay listens at.
        networks: named by the user; empty: any private network.
        is_relayed: with TLS and a token. Then a named network may be public.
        own: the file in which Linux lists the addresses of this host.

    Raises:
        PublicAddress: it is outside the networks, or one of the host's addresses is and ``host``
            means all of them.
    """
    hosts = [host]
    if host == ANY:
        hosts = _OWN_ADDRESS.findall(own.read_text()) if own.exists() else []
    found = [address for address in map(ipaddress.IPv4Address, hosts) if not address.is_loopback]
    outside = [a for a in found if networks and not any(a in network for network in networks)]
    if outside:
        named = ",".join(map(str, networks))
        raise PublicAddress(
            f"cluster.bind_host: got {host}{f', here {outside[0]} too' * (host == ANY)}, wanted an "
            f"address in cluster.replay_network ({named})"
        )
    public = [address for address in found if address.is_global]
    if public and not (networks and is_relayed):
        raise PublicAddress(
            f"cluster.bind_host: got {host}, which is {public[0]} to the internet; replay has no "
            "login: wanted an address of a private network"
        )


def reached_at(address: str) -> str:
    """Return the address by which a process of the same host reaches ``address``, ``host:port``."""
    host, _, port = address.rpartition(":")
    return f"{'127.0.0.1' if host == ANY else host}:{port}"


def with_port(address: str) -> str:
    """Return ``address``, ``host:port``, with a free port if it has port 0."""
    host, _, port = address.rpartition(":")
    return address if int(port) else f"{host}:{free_port(host)}"


def listening_addresses(port: int) -> list[str]:
    """Return the addresses this machine listens on at ``port``, IPv4-mapped ones as IPv4."""
    addresses = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            local, _, state = line.split()[1:4]
            host, port_hex = local.split(":")
            if state == _TCP_LISTEN and int(port_hex, 16) == port:
                addresses.append(_readable(host))
    return addresses


def _readable(host_hex: str) -> str:
    """Decode /proc's host: 32-bit words in the machine's byte order, as hex."""
    words = [host_hex[i : i + 8] for i in range(0, len(host_hex), 8)]
    packed = b"".join(int(word, 16).to_bytes(4, "little") for word in words)
    if len(words) == 1:
        return socket.inet_ntoa(packed)
    return socket.inet_ntop(socket.AF_INET6, packed).removeprefix("::ffff:")

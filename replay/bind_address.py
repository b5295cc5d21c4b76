"""Makes Reverb's server listen on one address instead of on all of them.

Reverb has no authentication and binds ``[::]`` with no option to change it; gRPC inside of it calls
the C library's ``bind``, which is replaced. Called by ``server.py`` only; knows nothing of replay.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import re
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from efficientzero.free_ports import free_port
from efficientzero.runtime import PlainError
from replay.relocation import replace_call

ANY = "0.0.0.0"

_Bind = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, use_errno=True
)
_TCP_LISTEN = "0A"
_OWN_ADDRESS = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")


class PublicAddress(PlainError):
    """Whoever reaches Reverb can read and write all of replay; others must not."""

    is_final = True


class BindAddress:
    """Redirects every IP ``bind`` of one shared library to a host; keep it while it serves."""

    def __init__(self, library: str, host: str) -> None:
        """Replace ``bind`` in ``library``, which must be loaded already.

        Args:
            library: its path.
            host: IPv4 address.

        Raises:
            RuntimeError: The library calls no ``bind``, so that it would listen on all addresses.
        """
        self._host = host
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._callback = _Bind(self._bind)
        replace_call(library, "bind", self._callback)

    def _bind(self, fd: int, address: int, length: int) -> int:
        try:
            redirected = _at_host(ctypes.string_at(address, length), self._host)
        except ValueError:
            ctypes.set_errno(errno.EADDRNOTAVAIL)
            return -1
        return int(self._libc.bind(fd, redirected, len(redirected)))


def check_private(
    host: str,
    networks: Sequence[ipaddress.IPv4Network] = (),
    *,
    is_relayed: bool = False,
    own: Path = Path("/proc/net/fib_trie"),
) -> None:
    """Check that replay may listen at ``host``, an IPv4 address: where no one else can reach it.

    Args:
        host: where it or its relay listens.
        networks: that the user names; none: any private one.
        is_relayed: with TLS and a token. Then a named network may be a public one.
        own: where Linux lists the addresses of this host.

    Raises:
        PublicAddress: it is another address, or all addresses of a host that has another one.
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
    """Return how a process of the same host reaches who listens at ``address``, ``host:port``."""
    host, _, port = address.rpartition(":")
    return f"{'127.0.0.1' if host == ANY else host}:{port}"


def with_port(address: str) -> str:
    """Return ``address``, ``host:port``, with a free port where it has port 0."""
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


def _at_host(address: bytes, host: str) -> bytes:
    """Return the socket address with its host replaced."""
    (family,) = struct.unpack_from("=H", address)
    if family == socket.AF_INET:
        return address[:4] + socket.inet_aton(host) + address[8:]
    if family == socket.AF_INET6:
        mapped = socket.inet_pton(socket.AF_INET6, f"::ffff:{host}")
        return address[:8] + mapped + address[24:]
    if family == socket.AF_UNIX:
        return address
    raise ValueError(f"address family: got {family}, wanted IP or unix")


def _readable(host_hex: str) -> str:
    """Decode /proc's host: 32-bit words in the machine's byte order, as hex."""
    words = [host_hex[i : i + 8] for i in range(0, len(host_hex), 8)]
    packed = b"".join(int(word, 16).to_bytes(4, "little") for word in words)
    if len(words) == 1:
        return socket.inet_ntoa(packed)
    return socket.inet_ntop(socket.AF_INET6, packed).removeprefix("::ffff:")

"""Makes Reverb's server listen on one address instead of on all of them.

Reverb has no authentication and binds ``[::]`` with no option to change it; gRPC inside of it calls
the C library's ``bind``, which is replaced.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct

from replay.driver.relocation import replace_call

_Bind = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, use_errno=True
)


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

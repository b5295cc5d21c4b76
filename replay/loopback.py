"""Makes Reverb's server listen on one address instead of on all of them.

Reverb has no authentication and binds ``[::]`` with no option to change it. gRPC sits inside
Reverb's extension but calls the C library's ``bind`` through the extension's relocation table, so
that one entry is replaced before the server starts. Called by ``server.py`` only; knows nothing of
replay. Linux on x86-64 only, as Reverb's wheels are.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
from pathlib import Path

_Bind = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, use_errno=True
)
_DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_JMPREL = 2, 5, 6, 23
_ELF64_DYN = struct.Struct("<qQ")  # tag, value
_ELF64_RELA = struct.Struct("<QQq")  # slot offset, symbol index << 32 | type, addend
_ELF64_SYM_BYTES = 24  # the first four are the name's offset in the string table
_TCP_LISTEN = "0A"


class LoopbackBind:
    """Redirects every IP ``bind`` of one shared library to 127.0.0.1; keep it while it serves."""

    def __init__(self, library: str) -> None:
        """Replace ``bind`` in ``library``, which must be loaded already.

        Raises:
            RuntimeError: The library calls no ``bind``, so that it would listen on all addresses.
        """
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._callback = _Bind(self._bind)
        address = ctypes.cast(self._callback, ctypes.c_void_p).value
        slot = _relocation_slot(ctypes.CDLL(library), "bind")
        # The table is read-only after loading (RELRO): open its page, and close it again.
        page = ctypes.c_void_p(slot & ~(mmap.PAGESIZE - 1))
        size = ctypes.c_size_t(mmap.PAGESIZE)
        if self._libc.mprotect(page, size, mmap.PROT_READ | mmap.PROT_WRITE) != 0:
            raise RuntimeError(f"mprotect failed: {os.strerror(ctypes.get_errno())}")
        ctypes.c_void_p.from_address(slot).value = address
        self._libc.mprotect(page, size, mmap.PROT_READ)

    def _bind(self, fd: int, address: int, length: int) -> int:
        try:
            loopback = _on_loopback(ctypes.string_at(address, length))
        except ValueError:
            ctypes.set_errno(errno.EADDRNOTAVAIL)
            return -1
        return int(self._libc.bind(fd, loopback, len(loopback)))


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


def _on_loopback(address: bytes) -> bytes:
    """Return the socket address with its host replaced by 127.0.0.1."""
    (family,) = struct.unpack_from("=H", address)
    if family == socket.AF_INET:
        return address[:4] + socket.inet_aton("127.0.0.1") + address[8:]
    if family == socket.AF_INET6:
        mapped = socket.inet_pton(socket.AF_INET6, "::ffff:127.0.0.1")
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


def _relocation_slot(library: ctypes.CDLL, symbol: str) -> int:
    """Return the address of the pointer through which ``library`` calls ``symbol``."""
    # glibc's handle points to a link_map: load address, name, dynamic section.
    load_address, _, dynamic = struct.unpack("<QQQ", ctypes.string_at(library._handle, 24))
    entries = {}
    while True:
        tag, value = _ELF64_DYN.unpack(ctypes.string_at(dynamic, _ELF64_DYN.size))
        if tag == 0:
            break
        entries[tag] = value
        dynamic += _ELF64_DYN.size
    table = ctypes.string_at(entries[_DT_JMPREL], entries[_DT_PLTRELSZ])
    for offset, info, _ in _ELF64_RELA.iter_unpack(table):
        entry = entries[_DT_SYMTAB] + (info >> 32) * _ELF64_SYM_BYTES
        (name_offset,) = struct.unpack("<I", ctypes.string_at(entry, 4))
        if ctypes.string_at(entries[_DT_STRTAB] + name_offset) == symbol.encode():
            return int(load_address + offset)
    raise RuntimeError(f"{library._name} does not call {symbol}: cannot keep it on loopback")

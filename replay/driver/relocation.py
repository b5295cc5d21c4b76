"""Replaces a C function for one loaded shared library only.

Libraries call others through their relocation table; the function's entry in it is replaced. Called
before Reverb's server starts, for settings that Reverb has no option for. Linux on x86-64 only, as
are Reverb's wheels.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from typing import Any

_DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_JMPREL = 2, 5, 6, 23
_ELF64_DYN = struct.Struct("<qQ")  # tag, value
_ELF64_RELA = struct.Struct("<QQq")  # slot offset, symbol index << 32 | type, addend
_ELF64_SYM_BYTES = 24  # the first four are the name's offset in the string table


def replace_call(library: str, symbol: str, callback: Any) -> None:  # noqa: ANN401  any CFUNCTYPE
    """Make ``library`` call ``callback`` instead of ``symbol``.

    Args:
        library: path of a library that is loaded already.
        symbol: name of the C function.
        callback: a ctypes function; the caller keeps it for as long as the library may call it.

    Raises:
        RuntimeError: the library does not call ``symbol``, or its table cannot be written.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    slot = _relocation_slot(ctypes.CDLL(library), symbol)
    # The table is read-only after loading (RELRO): open its page, and close it again.
    page = ctypes.c_void_p(slot & ~(mmap.PAGESIZE - 1))
    size = ctypes.c_size_t(mmap.PAGESIZE)
    if libc.mprotect(page, size, mmap.PROT_READ | mmap.PROT_WRITE) != 0:
        raise RuntimeError(f"mprotect failed: {os.strerror(ctypes.get_errno())}")
    ctypes.c_void_p.from_address(slot).value = ctypes.cast(callback, ctypes.c_void_p).value
    libc.mprotect(page, size, mmap.PROT_READ)


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
    raise RuntimeError(f"{library._name} does not call {symbol}, so that it cannot be replaced")

"""Lets Reverb's server answer with a process id that nobody has.

A sampler that reaches the server over loopback asks for its pid; where both are equal, the server
hands out a raw pointer into its own memory. In containers of one pod or one network namespace every
process may be number 1, and the client would follow the pointer and die. Called by ``server.py``.
"""

from __future__ import annotations

import ctypes

from replay.driver.relocation import replace_call

_NOBODY = 2**31 - 1
"""Linux gives no process id above 2^22."""

_Getpid = ctypes.CFUNCTYPE(ctypes.c_int)


class ForeignPid:
    """Replaces ``getpid`` for one shared library; keep it while it serves."""

    def __init__(self, library: str) -> None:
        """Replace ``getpid`` in ``library``, which must be loaded already.

        Raises:
            RuntimeError: The library calls no ``getpid``.
        """
        self._callback = _Getpid(lambda: _NOBODY)
        replace_call(library, "getpid", self._callback)

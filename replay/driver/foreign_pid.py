"""Makes Reverb's server report a process id that no process has.

Reverb hands a client with its own pid a raw pointer into its memory instead of data. In containers
of one pod or one network namespace several processes may have pid 1; the client would follow the
pointer and crash. Called by ``server.py``.
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

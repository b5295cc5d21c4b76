"""Free ports that stay free until the process that is to listen there has started.

The kernel gives outgoing connections ports of its ephemeral range. One of them may take a free port
of that range between its choice and its use, and again while the listening process restarts.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
_TRIES = 200


def bind_free_port(held: socket.socket, host: str) -> int:
    """Bind ``held`` to a free port of ``host``, below the ephemeral range, and return the port.

    If the host leaves no room below that range, any free port is taken.

    Raises:
        OSError: no process can listen at ``host``.
    """
    end = _ephemeral_start()
    draw = random.SystemRandom()
    for _ in range(_TRIES if end > _LOWEST else 0):
        try:
            held.bind((host, draw.randrange(_LOWEST, end)))
        except OSError:
            continue
        return int(held.getsockname()[1])
    held.bind((host, 0))
    return int(held.getsockname()[1])


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of ``host`` that no process listens on now, see ``bind_free_port``.

    Raises:
        OSError: no process can listen at ``host``.
    """
    with socket.socket() as held:
        return bind_free_port(held, host)


def _ephemeral_start() -> int:
    try:
        return int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0

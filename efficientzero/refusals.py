"""What a server says of callers that it refuses: little, however often they call.

Used by the learner's gate and by replay's relay.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_LINE_EVERY_S = 60.0
_MOST_PEERS = 1_000

log = logging.getLogger(__name__)


class Refusals:
    """One log line a minute for each peer and cause, with the count since the last one."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        line: str = "refused a call of {peer}: {cause}",
    ) -> None:
        """Have refused nothing yet; ``line`` is what the log says."""
        self._clock, self._line, self._lock = clock, line, threading.Lock()
        self._noted: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def note(self, peer: str, cause: str) -> None:
        """Count one refusal of ``peer``, ``ipv4:host:port`` as gRPC has it; the port is left out.

        ``cause`` is this program's own text, with nothing of the peer's in it.
        """
        key, now = (peer.rpartition(":")[0], cause), self._clock()
        with self._lock:
            said_at, unsaid = self._noted.pop(key, (-_LINE_EVERY_S, 0))
            is_due = now - said_at >= _LINE_EVERY_S
            self._noted[key] = (now, 0) if is_due else (said_at, unsaid + 1)
            if len(self._noted) > _MOST_PEERS:
                self._noted.popitem(last=False)
        if is_due:
            more = f" ({unsaid} more since the last line)" if unsaid else ""
            log.warning("%s%s", self._line.format(peer=key[0], cause=cause), more)

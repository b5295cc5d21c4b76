"""Log lines about refused callers, limited in number however often they call.

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
_MOST_LINES = 60
"""In one minute, for all callers together: one caller may have many addresses."""

log = logging.getLogger(__name__)


class Refusals:
    """One log line a minute for each peer and cause, with the count since the last line."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        line: str = "refused a call of {peer}: {cause}",
    ) -> None:
        """Begin with no refusals; ``line`` is the format of the log line."""
        self._clock, self._line, self._lock = clock, line, threading.Lock()
        self._noted: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._minute, self._lines = -_LINE_EVERY_S, 0

    def note(self, peer: str, cause: str, said: str = "", failure: Exception | None = None) -> None:
        """Count one refused call.

        Args:
            peer: the caller as gRPC names it; the port is left out.
            cause: refusals with equal causes are counted together.
            said: text of the line; default: the cause.
            failure: logged with its traceback; the error may not be the caller's fault.
        """
        key, now = (peer.rpartition(":")[0], cause), self._clock()
        with self._lock:
            said_at, unsaid = self._noted.pop(key, (-_LINE_EVERY_S, 0))
            is_due = now - said_at >= _LINE_EVERY_S and self._has_line(now)
            self._noted[key] = (now, 0) if is_due else (said_at, unsaid + 1)
            if len(self._noted) > _MOST_PEERS:
                self._noted.popitem(last=False)
        if is_due:
            more = f" ({unsaid} more since the last line)" if unsaid else ""
            level = logging.WARNING if failure is None else logging.ERROR
            text = self._line.format(peer=key[0], cause=said or cause)
            log.log(level, "%s%s", text, more, exc_info=failure)

    def _has_line(self, now: float) -> bool:
        if now - self._minute >= _LINE_EVERY_S:
            self._minute, self._lines = now, 0
        self._lines += 1
        if self._lines == _MOST_LINES:
            log.warning("refused calls of many peers: no more lines of others in this minute")
        return self._lines < _MOST_LINES

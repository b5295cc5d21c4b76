"""How a service refuses a call, and how many lines that may cost in the log.

Raised by the services, answered and counted by the gate in front of them.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import grpc

from efficientzero.rpc.texts import clean

_LINE_EVERY_S = 60.0
_MOST_PEERS = 1_000
_MOST_LINES = 60
"""In one minute, whoever calls: a caller may have many addresses."""
_LONGEST_REASON = 1_000

log = logging.getLogger(__name__)


class CallRefused(Exception):
    """A call is refused: the caller gets code and reason."""

    def __init__(
        self, reason: str, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    ) -> None:
        """Keep both.

        Args:
            reason: ``what: got ..., wanted ...``; may have texts of the caller in it.
            code: of the answer.
        """
        super().__init__(clean(reason, most=_LONGEST_REASON))
        self.code = code

    @property
    def cause(self) -> str:
        """What the reason begins with, which no caller can vary: all but numbers, up to "got"."""
        return re.sub(r"\d+", "", str(self).partition("got ")[0])


class Refusals:
    """One log line a minute for each peer and cause, with the count since the last one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._noted: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._minute, self._lines = -_LINE_EVERY_S, 0

    def note(self, peer: str, cause: str, said: str = "", failure: Exception | None = None) -> None:
        """Count one refused call.

        Args:
            peer: the caller as gRPC names it; the port is left out.
            cause: what is counted together.
            said: what the line says; default: the cause.
            failure: logged with its traceback: the call is not the caller's fault alone.
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
            text = ("refused a call of %s: %s%s", key[0], said or cause, more)
            log.log(level, *text, exc_info=failure)

    def _has_line(self, now: float) -> bool:
        if now - self._minute >= _LINE_EVERY_S:
            self._minute, self._lines = now, 0
        self._lines += 1
        if self._lines == _MOST_LINES:
            log.warning("refused calls of many peers: no more lines of others in this minute")
        return self._lines < _MOST_LINES

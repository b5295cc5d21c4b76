"""Bad items of replay: dropped, counted, logged, and removed from their table.

Reverb has no login, so every process that reaches its port can insert anything. Every reader of
replay checks the items it reads and holds one ``Quarantine`` for bad ones. One bad item never ends
a run; a table that returns only bad items does, with a reason.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import re
import threading
import time

from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import PlainError, StopSignal
from replay.driver import reverb_lite

_LOG_AGAIN_S = 60.0
_MOST_IN_A_ROW = 20
_ENDS_AFTER_S = 30.0
_QUEUED_KEYS = 1_024
_MOST_CAUSES = 100

log = logging.getLogger(__name__)


class PoisonedReplay(PlainError):
    """No item from replay can be used; a restart would not change that."""

    is_permanent = True


class Quarantine:
    """Counts what one reader drops; thread-safe."""

    def __init__(self, what: str, address: str, table: str, stop: StopSignal) -> None:
        """Drop nothing yet, and open no connection.

        Args:
            what: name of the dropped items for the log, in the singular.
            address: of the replay service, for the removal.
            table: of the items.
            stop: ends the thread that removes items.
        """
        self.dropped = 0
        """Ever."""
        self._what, self._address, self._table, self._stop = what, address, table, stop
        self._lock = threading.Lock()
        self._in_a_row, self._since = 0, math.inf
        self._last_why = ""
        self._logged: dict[str, tuple[float, int]] = {}  # by cause: when, and how many since
        self._keys: queue.Queue[int] = queue.Queue(_QUEUED_KEYS)
        self._removes = False

    def drop(self, why: str, *, key: int | None = None) -> None:
        """Count an item that was not used, and have it removed if its ``key`` is known."""
        now = time.monotonic()
        with self._lock:
            self.dropped += 1
            self._in_a_row += 1
            self._since = min(self._since, now)
            self._last_why = why
            line = self._line(why, key, now)
        if line:
            log.warning("%s", line)
        if key is not None:
            self._remove(key)

    def passed(self) -> None:
        """Note that a good item was read."""
        with self._lock:
            self._in_a_row, self._since = 0, math.inf

    def check(self) -> None:
        """Check that not all items are dropped.

        Raises:
            PoisonedReplay: at least the last 20 items, over half a minute or more, were dropped.
        """
        with self._lock:
            lasted_s = time.monotonic() - self._since
            if self._in_a_row < _MOST_IN_A_ROW or lasted_s < _ENDS_AFTER_S:
                return
            raise PoisonedReplay(
                f"replay at {self._address}, {self._table}: the last {self._in_a_row} were all "
                f"dropped, for {lasted_s:.0f} s; the last one: {self._last_why}. Somebody else "
                "writes into replay, or it is damaged: see who reaches its port, then resume "
                "from a snapshot"
            )

    def _line(self, why: str, key: int | None, now: float) -> str:
        """Return the line to log, empty if one with the same cause was logged recently."""
        cause = re.sub(r"[^A-Za-z,:]+", " ", why)[:60]
        if cause not in self._logged and len(self._logged) >= _MOST_CAUSES:
            cause = "any other"
        at, num = self._logged.get(cause, (-math.inf, 0))
        if now - at < _LOG_AGAIN_S:
            self._logged[cause] = (at, num + 1)
            return ""
        self._logged[cause] = (now, 0)
        named = self._what if key is None else f"{self._what} {key}"
        others = f" ({num} more of the kind since the last such line)" if num else ""
        return f"{named} of {self._table} dropped: {why}{others}"

    def _remove(self, key: int) -> None:
        with self._lock:
            if not self._removes:
                self._removes = True
                guarded_thread(self._run, self._stop, name="quarantine")
        with contextlib.suppress(queue.Full):  # drawn and dropped again, until there is room
            self._keys.put_nowait(key)

    def _run(self) -> None:
        client = reverb_lite.load().Client(self._address)
        while (key := self._stop.get(self._keys)) is not None:
            keys = [key]
            while not self._keys.empty():
                keys.append(self._keys.get_nowait())
            try:
                client.mutate_priorities(self._table, deletes=keys)
            except (RuntimeError, ValueError) as error:
                log.warning("%d bad items could not be removed: %s", len(keys), error)

"""Threads whose failure ends their role; the only place that makes one.

Used wherever a process needs a thread. A bare ``threading.Thread`` that raises prints a stack and
ends, while its process waits for its results; ``SystemExit`` ends it silently. The lint rule TID251
refuses bare threads and executors.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from efficientzero.process.runtime import StopSignal

log = logging.getLogger(__name__)


class GuardedThread(threading.Thread):  # noqa: TID251  this is the guard
    """A daemon thread; an exception of its target is logged and sets the process's stop signal."""

    def __init__(
        self,
        target: Callable[..., None],
        stop: StopSignal,
        *,
        name: str,
        args: tuple[Any, ...] = (),
    ) -> None:
        """Start nothing yet; see ``guarded_thread``."""
        super().__init__(name=name, daemon=True)
        self._work, self._work_args, self._stop_signal = target, args, stop

    def run(self) -> None:
        """Call the target."""
        try:
            self._work(*self._work_args)
        except BaseException as error:
            # SystemExit too: threading would take it for a regular end.
            log.critical("thread %s failed", self.name, exc_info=error)
            self._stop_signal.fail(self.name, error)


def guarded_thread(
    target: Callable[..., None], stop: StopSignal, *, name: str, args: tuple[Any, ...] = ()
) -> GuardedThread:
    """Start ``target(*args)`` in a daemon thread and return the thread.

    An exception, ``SystemExit`` included, is logged with its traceback under the role's name, and
    ``stop`` is set: every wait of the process ends, the main function returns or raises, and
    ``run_role`` returns a failure's exit code. A main thread that hangs is ended by the watchdog of
    ``install_stop_handlers``. An exception that the caller should raise goes into the thread's
    result, not here.

    Args:
        target: the work.
        stop: the process's stop signal, or that of a part that passes failures on.
        name: the thread's name in logs.
        args: arguments of ``target``.
    """
    thread = GuardedThread(target, stop, name=name, args=args)
    thread.start()
    return thread

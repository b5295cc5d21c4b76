"""Setup that every process needs before its own work: stop signal, logging, seeds, exit code.

Called by each role's ``__main__`` and by the launcher. Knows no role's work, no config, no network.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import math
import os
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import ClassVar, TypeVar

import numpy as np

from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.liveness import beat, start_liveness
from efficientzero.process.stop_signals import stop_signals

ROLES = ("launcher", "replay", "learner", "reanalyzer", "actor", "evaluator")
"""Order is part of the seed tree: append, never reorder."""

LAUNCHER_PID_VARIABLE = "EFFICIENTZERO_LAUNCHER_PID"
LAUNCHED_WORKERS_VARIABLE = "EFFICIENTZERO_LAUNCHED_WORKERS"
"""Set if the launcher also starts the workers: then no message asks the user to start one."""
EXIT_FINAL = 78
"""Exit code of a failure that a restart would repeat."""

_EXIT_GRACE_SECONDS = 20.0
_POLL_S = 0.2
_PR_SET_PDEATHSIG = 1

_print_stacks = logging.Handler.handleError

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class PlainError(Exception):
    """A failure whose message needs no traceback: what was got, what was wanted, what to do."""

    is_permanent: ClassVar[bool] = False
    """True if starting the process again would end in the same failure."""


class ThreadFailed(Exception):
    """A thread of this process has failed; its traceback is logged."""

    def __init__(self, thread: str, error: BaseException) -> None:
        super().__init__(f"its thread {thread} failed: {type(error).__name__}: {error}")
        self.thread, self.error = thread, error


class StopSignal:
    """A request to stop, seen by every wait of a process."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""
        self.failure: ThreadFailed | None = None
        """The first failure of a thread; None: there was none."""

    def fail(self, thread: str, error: BaseException) -> None:
        """Ask everything in this process to stop because one of its threads has failed."""
        self.failure = self.failure or ThreadFailed(thread, error)
        self.set(f"thread {thread} failed")

    def check(self) -> None:
        """Raise the first failure of a thread, if there was one.

        Raises:
            ThreadFailed: with the thread's exception as its cause.
        """
        if self.failure is not None:
            raise self.failure from self.failure.error

    def set(self, reason: str) -> None:
        """Ask everything in this process to stop; the first reason is kept."""
        if not self._event.is_set():
            self.reason = reason
        self._event.set()

    def is_set(self) -> bool:
        """Return whether a stop was asked for."""
        return self._event.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Sleep up to ``timeout_s`` seconds; return True as soon as a stop is asked for."""
        return self._event.wait(timeout_s)

    def get(self, items: queue.Queue[Item], timeout_s: float = math.inf) -> Item | None:
        """Return the next of ``items``, or None at the timeout or when a stop is asked for.

        What is there is returned at once, even with a timeout of 0, but not after a stop.
        """
        deadline = time.monotonic() + timeout_s
        while not self.is_set():
            left_s = deadline - time.monotonic()
            try:
                return items.get(timeout=max(0.0, min(left_s, _POLL_S)))
            except queue.Empty:
                if left_s <= 0:
                    break
        return None


class WaitReason:
    """Logs the reason of a long wait: after ``after_s`` seconds, then at doubling intervals."""

    def __init__(self, what: str, *, after_s: float = 10.0) -> None:
        self._what = what
        self._started = time.monotonic()
        self._next_s = after_s

    def tick(self, detail: str = "") -> None:
        """Call in every iteration of the wait."""
        beat(self._what)
        waited = time.monotonic() - self._started
        if waited >= self._next_s:
            log.warning(
                "waiting for %s since %.0f s%s", self._what, waited, f" ({detail})" * bool(detail)
            )
            self._next_s *= 2


def install_stop_handlers(stop: StopSignal, *, exit_grace_s: float = _EXIT_GRACE_SECONDS) -> None:
    """Make the stop signals set ``stop``; a process that then does not end is killed.

    Handlers only set the event: a main thread blocked in C++ would never see an exception. A
    watchdog thread ends such a process with exit code 70.
    """

    def ask(signum: int, frame: FrameType | None) -> None:
        del frame
        stop.set(signal.Signals(signum).name)

    for signum in stop_signals():
        signal.signal(signum, ask)

    def watchdog() -> None:
        while not stop.wait(3600.0):
            pass
        time.sleep(exit_grace_s)
        log.error("still running %.0f s after %s; leaving at once", exit_grace_s, stop.reason)
        logging.shutdown()
        os._exit(70)

    guarded_thread(watchdog, stop, name="stop-watchdog")


def die_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent dies, so that no orphan is left.

    The launcher passes its pid in the environment: if it died while this process was still
    importing, the parent is already another process.
    """
    parent = int(os.environ.get(LAUNCHER_PID_VARIABLE, os.getppid()))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        log.warning("prctl(PR_SET_PDEATHSIG) failed: %s", os.strerror(ctypes.get_errno()))
    if os.getppid() != parent:
        sys.exit("the launcher was gone before this process started")


def setup_logging(role: str, index: int, *, level: int = logging.INFO) -> None:
    """Log to stderr with role and index on every line.

    From here on a handler that cannot write (wandb's, on a full disk) reports it in one line.
    """
    logging.Handler.handleError = _report_lost_line  # type: ignore[method-assign, assignment]
    logging.basicConfig(
        level=level,
        format=f"%(asctime)s {role}-{index} %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )


_lost_lines: Counter[str] = Counter()


def _report_lost_line(handler: logging.Handler, record: logging.LogRecord) -> None:
    """Report a lost line in one line; logging's default prints two stacks, as a crash would."""
    error = sys.exc_info()[1]
    if not isinstance(error, OSError):
        _print_stacks(handler, record)
        return
    _lost_lines[record.name] += 1
    count = _lost_lines[record.name]
    if count & (count - 1):
        return  # the first, second, fourth and so on are enough
    with contextlib.suppress(OSError, ValueError):  # stderr may be what cannot be written to
        lost = f"{count} lines of its log are lost" if count > 1 else "a line of its log is lost"
        print(f"{record.name}: {lost}: {error}", file=sys.stderr, flush=True)


def run_role(
    role: str,
    index: int,
    main: Callable[[StopSignal], None],
    *,
    exit_grace_s: float = _EXIT_GRACE_SECONDS,
) -> int:
    """Run ``main`` as a role's process and return its exit code.

    0: finished, or stopped when asked to. 1: an exception here or in a thread, logged with its
    traceback (a ``PlainError`` in one line), or a ``sys.exit()`` of the role's code. 78: a failure
    that a restart would repeat.
    """
    setup_logging(role, index)
    if LAUNCHER_PID_VARIABLE in os.environ:
        die_with_parent()  # otherwise the parent, perhaps a shell that has ended, does not matter
    start_liveness(role, index)
    stop = StopSignal()
    install_stop_handlers(stop, exit_grace_s=exit_grace_s)
    try:
        main(stop)
        stop.check()
    except (Exception, SystemExit) as error:
        return _exit_code_of(error, f"{role}-{index}")
    log.info("%s", f"stopped ({stop.reason})" if stop.is_set() else "finished")
    return 0


def _exit_code_of(error: Exception | SystemExit, process: str) -> int:
    """Log what ended a role's main function; return its exit code."""
    if isinstance(error, ThreadFailed):
        log.error("%s failed: %s (its traceback is above)", process, error)
    elif isinstance(error, PlainError):
        log.error("%s", error)
        return EXIT_FINAL if error.is_permanent else 1
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = error.filename or "the run folder"
        log.error("the disk is full (%s): free some space or choose another --runs-dir", where)
        return EXIT_FINAL
    elif isinstance(error, SystemExit):
        code = "" if error.code is None else error.code
        log.exception("%s called sys.exit(%s), which ends no role", process, code)
        return error.code if isinstance(error.code, int) and error.code else 1
    else:
        log.exception("%s failed", process)
    return 1


def exit_now(exit_code: int) -> None:
    """End the process now: threads blocked inside Reverb or gRPC must not hold up the exit."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def seed_sequence(seed: int, role: str, index: int, *path: int) -> np.random.SeedSequence:
    """Return the node ``run seed -> role -> index -> path`` of the run's seed tree."""
    return np.random.SeedSequence(seed, spawn_key=(ROLES.index(role), index, *path))


def generator(seed: int, role: str, index: int, *path: int) -> np.random.Generator:
    """Return a numpy generator seeded from that node."""
    return np.random.default_rng(seed_sequence(seed, role, index, *path))

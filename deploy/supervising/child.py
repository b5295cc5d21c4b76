"""One role's process: start it, read what it prints, end it, find what it left behind.

Called by the supervisor, from its main thread only: the kernel's parent-death signal fires when
the thread that started the process ends. Knows nothing of roles, restarts or the run's progress.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from deploy.supervising.topology import ProcessSpec
from efficientzero.process.guarded_thread import GuardedThread, guarded_thread
from efficientzero.process.runtime import EXIT_FINAL, LAUNCHER_PID_VARIABLE, StopSignal

LineSink = Callable[[str, str], None]
"""Takes a process's name and one line that it printed."""

RUN_MARK = "EFFICIENTZERO_RUN_UID"
"""Environment variable that names the run of a process. A copy of the run has it, too."""

LAUNCH_MARK = "EFFICIENTZERO_LAUNCH"
"""Environment variable with a random number of one launch, which is never written to disk: who has
it descends from that launcher. Only processes that have it are ended."""

DETERMINISTIC_ARITHMETIC = {"MKL_CBWR": "AUTO,STRICT"}
"""Environment in which MKL rounds alike wherever its arguments lie in memory. By default a product
of one row differs in the last bits when its address is no multiple of 16 bytes."""

CHECKOUT = Path(__file__).resolve().parents[2]

_KEPT_LINES = 40
_MOST_LOG_BYTES = 50_000_000
"""Of a process's log, before a new one is begun; the one before is kept."""
_REOPEN_S = 1.0
"""Between two tries to open a log file that could not be written."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_EXIT_CODES = {
    70: " (did not stop when asked to)",
    EXIT_FINAL: " (starting it again would only repeat the failure)",
}
_SIGNAL_HINTS = {
    "SIGKILL": " (by hand, or the machine ran out of memory: see dmesg)",
    "SIGSEGV": " (a crash in native code)",
}

log = logging.getLogger(__name__)


class Child:
    """A process and the thread that reads it, through all incarnations of one role and index."""

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        log_dir: Path,
        env: Mapping[str, str],
        sink: LineSink,
        stop: StopSignal,
        first_incarnation: int = 0,
    ) -> None:
        self.spec = spec
        self._first_incarnation = first_incarnation
        self.log_path = log_dir / f"{spec.name}.log"
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._env = dict(env)
        self._sink = sink
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = stop
        self._reader: GuardedThread | None = None

    @property
    def pid(self) -> int:
        """Process id of the newest incarnation; 0 before the first."""
        return self._process.pid if self._process else 0

    def start(self, incarnation: int = 0) -> None:
        """Start the process in a new session, so that Ctrl-C reaches the launcher alone.

        Its working directory is the launcher's, so that relative paths mean the same.

        Raises:
            OSError: the machine cannot start it.
        """
        argv = list(self.spec.argv)
        incarnation += self._first_incarnation
        if incarnation:
            argv += ["--incarnation", str(incarnation)]
        self.last_lines.clear()
        self._process = subprocess.Popen(
            argv,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = guarded_thread(
            self._read, self._stop, name=f"read-{self.spec.name}", args=(self._process,)
        )

    def exit_code(self) -> int | None:
        """Return the exit code (minus the signal if killed), None while running or not started."""
        return self._process.poll() if self._process else None

    def is_running(self) -> bool:
        """Return whether there is a process that has not ended."""
        return self._process is not None and self._process.poll() is None

    def signal(self, signum: signal.Signals) -> None:
        """Signal this one process, never its group: its wandb service must live to flush."""
        if self._process is not None:
            self._process.send_signal(signum)  # a no-op after poll() has seen the end

    def finish_reading(self, timeout_s: float = 2.0) -> None:
        """Wait until what it printed is read; a grandchild may hold the pipe open for ever."""
        if self._reader is not None:
            self._reader.join(timeout_s)

    def describe_exit(self) -> str:
        """Return how the process ended, as text."""
        code = self.exit_code()
        if code is None:
            return f"{self.spec.name} is running"
        if code >= 0:
            return f"{self.spec.name} ended with code {code}{_EXIT_CODES.get(code, '')}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"{self.spec.name} was killed by {name}{_SIGNAL_HINTS.get(name, '')}"

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        log_file = _LogFile(self.log_path)
        with process.stdout as pipe:
            for raw in pipe:
                line = raw.decode(errors="replace").rstrip("\r\n")
                self.last_lines.append(line)
                log_file.write(raw)
                self._sink(self.spec.name, line)
        log_file.close()


class _LogFile:
    """Appends to a file, and opens it again after a failure; the pipe must be read all the time.

    What a full disk refused is missing; the file says how much, at the place where it goes on.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        most_bytes: int = _MOST_LOG_BYTES,
    ) -> None:
        self._path, self._clock = path, clock
        self._num_bytes, self._most_bytes = 0, most_bytes
        self._file: io.FileIO | None = None
        self._is_torn = False  # the last line is there in part
        self._num_missing, self._error = 0, ""
        self._next_try_s = -math.inf

    def write(self, raw: bytes) -> None:
        if self._num_missing and self._clock() < self._next_try_s:
            self._num_missing += 1
            return
        try:
            if self._file is None:
                self._open()
            if self._num_missing:
                gap = f"[launcher: {self._num_missing} lines are missing: {self._error}]\n"
                self._append(b"\n" * self._is_torn + gap.encode())
                log.info("%s is written again; it lacks %d lines", self._path, self._num_missing)
                self._num_missing = 0
            if self._num_bytes and self._num_bytes + len(raw) > self._most_bytes:
                self._rotate()
            self._append(raw)
        except OSError as error:
            if not self._num_missing:
                log.warning("%s cannot be written: %s; it is tried again", self._path, error)
            self._num_missing, self._error = self._num_missing + 1, str(error)
            self._next_try_s = self._clock() + _REOPEN_S
            self.close()

    def _open(self) -> None:
        self._file = self._path.open("ab", buffering=0)
        self._num_bytes = self._file.tell()

    def _rotate(self) -> None:
        """Begin a new file; the one before is kept as ``NAME.log.1``, older ones are not."""
        self.close()
        os.replace(self._path, self._path.with_name(f"{self._path.name}.1"))
        self._open()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # what it reports was reported by the write
                file.close()

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        left = memoryview(data)
        while left:  # a disk that is nearly full takes a part
            taken = self._file.write(left)
            self._num_bytes += taken
            left = left[taken:]
            self._is_torn = bool(left)


def child_environment(
    base: Mapping[str, str], *, run_uid: str, launch: str, threads: int
) -> dict[str, str]:
    """Return the environment of a run's processes, with the marks of the run and of this launch.

    gRPC and Reverb send even loopback traffic to a configured proxy and then hang, hence no_proxy.
    """
    env = with_import_path(base)
    for name in _THREAD_VARIABLES:
        env[name] = str(threads)
    env["PYTHONUNBUFFERED"] = "1"
    env[RUN_MARK], env[LAUNCH_MARK] = run_uid, launch
    env[LAUNCHER_PID_VARIABLE] = str(os.getpid())
    given = base.get("no_proxy") or base.get("NO_PROXY")
    env["no_proxy"] = env["NO_PROXY"] = ",".join(filter(None, [given, "127.0.0.1,localhost"]))
    return env


def with_import_path(base: Mapping[str, str]) -> dict[str, str]:
    """Return ``base`` with the checkout first on Python's path, for ``python -P -m ROLE``.

    A process of ours works in the launcher's own working directory, so that relative entries of
    the path and files of the user mean the same there; ``-P`` keeps that folder's modules from
    taking the place of ours.
    """
    given = base.get("PYTHONPATH")
    return {**base, "PYTHONPATH": os.pathsep.join(filter(None, [str(CHECKOUT), given]))}


def end_leftovers(launch: str, *, grace_s: float) -> list[int]:
    """End what a launch's processes have left running, in any session; return what was killed.

    A wandb service follows its parent by itself within seconds; only what outlives ``grace_s`` is
    killed. Returns at once when nothing is left.
    """
    deadline = time.monotonic() + grace_s
    left = _marked_processes(launch)
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = _marked_processes(launch)
    return [pid for pid in left if _kill_marked(pid, launch)]


def _marked_processes(launch: str) -> list[int]:
    return [pid for pid in _pids() if pid != os.getpid() and _has_mark(pid, launch)]


def _kill_marked(pid: int, launch: str) -> bool:
    """Kill a process if it is still the one that has the mark: its number may be another's now."""
    try:
        process = os.pidfd_open(pid)
    except OSError:  # ended meanwhile
        return False
    try:
        if not _has_mark(pid, launch):
            return False
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(process)
    return True


def _has_mark(pid: int, launch: str) -> bool:
    mark = f"{LAUNCH_MARK}={launch}".encode()
    return mark in _environ(pid).split(b"\0")


def _pids() -> Iterable[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # ended meanwhile, or not ours
        return b""

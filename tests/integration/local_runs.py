"""Runs of ``launch.py --local`` as a person starts them, for tests: real processes, real services.

Nothing is read from inside the launcher: only its output, its exit code, the run folder, the
learner's status service and ``/proc``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import grpc

from deploy.supervising.child import RUN_MARK
from deploy.supervising.monitor import learner_status
from efficientzero.rpc.credentials import LOCAL_FOLDER
from efficientzero.rpc.stubs import run_pb2

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_S = 300.0
"""For anything that only takes long on a machine that is busy with something else."""

# A small network, few simulations: what takes time is starting the processes.
TINY = (
    *("--preset", "catch", "--tracking.mode", "offline"),
    *("--search.num-simulations", "4", "--learner.batch-size", "16"),
    *("--network.trunk", "auto", "--network.channels", "4", "--network.reduced-channels", "2"),
    *("--learner.publish-interval", "5", "--learner.target-interval", "10"),
    *("--learner.log-interval", "10", "--cluster.metrics-interval-seconds", "1"),
)
_PROCESS = re.compile(r"-m (\S+) --config \S+ --index (\d+)")
_ROLES = {"actor.evaluator": "evaluator", "learner.rank": "rank"}


class LocalRun:
    """One ``launch.py --local``. Use as a context manager: nothing outlives it."""

    def __init__(
        self,
        runs_dir: Path,
        *options: str,
        name: str = "run",
        resume: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = runs_dir / name
        self._num_resumes = self.config["num_resumes"] + 1 if resume else 0
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__
        new = ("--runs-dir", str(runs_dir), "--run-id", name)
        places = ("--resume", str(self.directory)) if resume else new
        command = [sys.executable, "launch.py", "--local", *options, *places]
        self.process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C at pytest is not one at the run
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(60.0)
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self._output.close()

    @property
    def output(self) -> str:
        """Everything printed so far."""
        handle = self._output.fileno()  # its position is shared with those who write
        return os.pread(handle, os.fstat(handle).st_size, 0).decode(errors="replace")

    @property
    def config(self) -> dict[str, Any]:
        return json.loads((self.directory / "config.json").read_text())

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.directory / "summary.json").read_text())

    def lines(self, file: str) -> list[dict[str, Any]]:
        """Return the records of a ``.jsonl`` file."""
        return [json.loads(line) for line in (self.directory / file).read_text().splitlines()]

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Return the exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s} s:\n{self.output}") from None

    def wait_for_config(self) -> None:
        """Wait until the launcher has written this launch's addresses."""
        self._wait_until(time.monotonic() + PATIENCE_S, "config.json", self._is_prepared)

    def wait_for_status(
        self,
        what: str,
        is_reached: Callable[[run_pb2.RunStatus], bool],
        *,
        timeout_s: float = PATIENCE_S,
    ) -> run_pb2.RunStatus:
        """Return the first status seen that is what the test waits for."""
        deadline = time.monotonic() + timeout_s
        self.wait_for_config()
        token = self.directory / LOCAL_FOLDER / "token"  # written after the config
        self._wait_until(deadline, f"{token.name} of the run", token.exists)
        with learner_status(self.config["learner_address"], self.directory / LOCAL_FOLDER) as fetch:
            statuses: list[run_pb2.RunStatus] = []

            def look() -> bool:
                try:
                    statuses.append(fetch())
                except grpc.RpcError:
                    return False
                return is_reached(statuses[-1])

            self._wait_until(deadline, what, look)
        return statuses[-1]

    def wait_for_output(self, text: str) -> None:
        """Wait until ``text`` is printed."""
        self._wait_until(
            time.monotonic() + PATIENCE_S, f"{text!r} in the output", lambda: text in self.output
        )

    def wait_for(self, what: str, is_reached: Callable[[], bool]) -> None:
        """Wait until something is so that only its files show."""
        self._wait_until(time.monotonic() + PATIENCE_S, what, is_reached)

    def pids(self) -> dict[int, str]:
        """Return process id -> name of all that belongs to the run, wandb services included."""
        if not (self.directory / "config.json").exists():
            return {}
        mark = f"{RUN_MARK}={self.config['run_uid']}".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if mark not in (folder / "environ").read_bytes().split(b"\0"):
                    continue
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # ended meanwhile, or not ours
                continue
            found[int(folder.name)] = _process_name(command)
        return found

    def kill(self, name: str) -> None:
        """Kill -9 the process ``name``."""
        self.signal(name, signal.SIGKILL)

    def signal(self, name: str, signum: signal.Signals) -> None:
        """Signal the process ``name``."""
        os.kill(self.pid(name), signum)

    def kill_all(self) -> None:
        """Kill -9 the launcher and everything it started, at once: a power cut."""
        self.process.send_signal(signal.SIGSTOP)  # it starts nobody any more
        for pid in (*self.pids(), self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60.0)
        deadline = time.monotonic() + 60.0
        while self.pids():
            assert time.monotonic() < deadline, f"survived kill -9: {self.pids()}"
            time.sleep(0.1)

    def pid(self, name: str) -> int:
        """Return the process id of ``name``, which must be running."""
        (pid,) = [pid for pid, known in self.pids().items() if known == name]
        return pid

    def _is_prepared(self) -> bool:
        config = self.directory / "config.json"
        return config.exists() and self.config["num_resumes"] >= self._num_resumes

    def _wait_until(self, deadline: float, what: str, is_reached: Callable[[], bool]) -> None:
        while not is_reached():
            ended = self.process.poll()
            assert ended is None, f"ended with {ended} before {what}:\n{self.output}"
            assert time.monotonic() < deadline, f"waited too long for {what}:\n{self.output}"
            time.sleep(0.1)


def _process_name(command: str) -> str:
    found = _PROCESS.search(command)
    if found is None:
        return command.strip() or "a zombie"
    role = _ROLES.get(found[1], found[1])
    return f"{role}-{found[2]}"


@contextmanager
def tmpfs(folder: Path, *, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of ``size_bytes`` at ``folder``; needs root."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, *, leave_bytes: int = 0) -> Path:
    """Write a file until ``folder``'s disk has only ``leave_bytes`` free; return the file."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        for block in (b"\0" * 65_536, b"\0" * 512, b"\0"):
            try:
                while True:
                    file.write(block)
            except OSError:
                continue
        file.truncate(file.tell() - leave_bytes)
    return path

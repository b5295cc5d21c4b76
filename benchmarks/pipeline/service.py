"""The real replay service in a separate process, and its memory and CPU time."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from efficientzero.config import Config
from efficientzero.process.free_ports import free_port
from efficientzero.process.runtime import StopSignal
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import EnvSpec
from replay.info import wait_until_ready

_ROOT = Path(__file__).parents[2]
_PATIENCE_S = 60.0
_NS = 1e-9


@dataclass(frozen=True, slots=True)
class ReplayProcess:
    """A running replay service."""

    address: str
    pid: int

    @property
    def resident_bytes(self) -> int:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all its threads, in nanosecond resolution (getrusage has only ticks)."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        return _NS * sum(int((task / "schedstat").read_text().split()[0]) for task in threads)


@contextlib.contextmanager
def replay_process(
    directory: Path, config: Config, spec: EnvSpec, stop: StopSignal
) -> Iterator[ReplayProcess]:
    """Start ``python -m replay`` for a run in ``directory`` and end it on leaving."""
    address = f"127.0.0.1:{free_port()}"
    run = RunInfo(
        run_id="benchmark",
        run_uid="00000000",
        group="benchmark",
        directory=directory,
        config=config,
        env_spec=spec,
        replay_address=address,
        learner_address="127.0.0.1:1",
        tracking_mode="disabled",
        versions={},
    )
    directory.mkdir(parents=True, exist_ok=True)
    run.save()
    with (directory / "replay.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "replay", "--config", str(run.config_path)],
            cwd=_ROOT,
            stderr=log,
        )
    try:
        wait_until_ready(address, stop, timeout_s=_PATIENCE_S)
        yield ReplayProcess(address, process.pid)
    finally:
        process.kill()
        process.wait()

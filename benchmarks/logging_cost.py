"""The command ``logging``: the cost of metric rows for the processes that log them, in CPU time.

Each process is a real one with a real offline wandb run and rows of an actor's size, ten a second;
32 of them run at once, as on a large machine. Run as a module it is one of these processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import tyro

from benchmarks.measuring import Row, Usage, describe_machine
from benchmarks.report import print_rows
from deploy.results import find_runs
from efficientzero.config import ClusterConfig
from efficientzero.metrics import ProcessUsage, SearchRates, SectionTimer, make_tracker
from efficientzero.process.runtime import StopSignal

_SECTIONS = ("wait_pace", "weights", "search", "envs", "record", "reset", "log", "wait_replay")
_NUM_ROWS = 200
_PAUSE_S = 0.1
_COUNTS = (1, 32)
_MOST_PERCENT = 1.0
_TITLE = "us: CPU microseconds a metric row, median over processes"
_START_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingCommand:
    """Measure what logging costs a process, alone and with 31 others; takes some minutes."""

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """One JSON object a row instead of the table; the first describes the machine."""


def measure_logging(command: LoggingCommand) -> None:
    """Measure and print."""
    machine, usage = describe_machine(), Usage()
    rows = [row for count in _COUNTS for row in _rows(count)]
    effort = f"{usage.wall_s:.0f} s"
    print_rows(rows, machine=machine, effort=effort, as_json=command.json, title=_TITLE)


def _rows(count: int) -> Iterator[Row]:
    costs = _measure(count)
    interval_s = ClusterConfig().metrics_interval_seconds
    name = f"logging, {count} process{'es' * (count > 1)}"
    process_us = [cost["process_us"] for cost in costs]
    thread_us = [cost["thread_us"] for cost in costs]
    yield Row(name=f"{name}: the role's own thread", value=median(thread_us), unit="us")
    yield Row(
        name=f"{name}: all of its process",
        value=median(process_us),
        unit="us",
        fastest=min(process_us),
    )
    yield Row(
        name=f"{name}: share of a row's {interval_s:g} s",
        value=100.0 * max(process_us) / (1e6 * interval_s),
        unit="%",
        must=_MOST_PERCENT,
        note="the costliest process",
    )


def _measure(count: int) -> list[dict[str, float]]:
    """Return the measurements of ``count`` processes that run at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.logging_cost", folder, str(index)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for index in range(count)
        ]
        outputs = [process.communicate()[0] for process in processes]
        failed = [process.returncode for process in processes if process.returncode]
        if failed:
            raise ValueError(f"got exit codes {failed} from processes that log, wanted 0")
        written = sorted(len(run.rows) for run in find_runs(Path(folder)))
        if written != [_NUM_ROWS + 1] * count:
            raise ValueError(f"got {written} rows on disk, wanted {_NUM_ROWS + 1} of each process")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def _log_rows(folder: Path, index: int) -> dict[str, float]:
    """Log and return CPU microseconds a row; finishing the run is counted, starting it not."""
    tracker = make_tracker(
        mode="offline",
        entity="none",
        project="none",
        group="none",
        seed=0,
        run_uid="0",
        role="actor",
        index=index,
        config={},
        directory=folder,
        stop=StopSignal(),
    )
    timer, usage = SectionTimer("actor"), ProcessUsage("actor")
    rates = SearchRates("actor", num_simulations=50, batch_size=8)
    others = {f"actor/metric{k}": float(k) for k in range(12)}

    def log_one() -> None:
        for section in _SECTIONS:
            with timer.section(section):
                pass
        rates.add(8)
        tracker.log({**others, **rates.row(10.0), **usage.row(), **timer.row()})

    log_one()
    _wait_for_run(folder, index)
    process, thread = time.process_time(), time.thread_time()
    for _ in range(_NUM_ROWS):
        log_one()
        time.sleep(_PAUSE_S)
    thread = time.thread_time() - thread
    tracker.close()
    process = time.process_time() - process
    return {"process_us": 1e6 * process / _NUM_ROWS, "thread_us": 1e6 * thread / _NUM_ROWS}


def _wait_for_run(folder: Path, index: int) -> None:
    """Wait until wandb has started: its import alone is worth a thousand rows."""
    deadline = time.monotonic() + _START_S
    while not list(folder.glob(f"wandb/offline-run-*-0-actor-{index}")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no wandb run after {_START_S:g} s")
        time.sleep(0.1)
    time.sleep(2.0)


if __name__ == "__main__":
    print(json.dumps(_log_rows(Path(sys.argv[1]), int(sys.argv[2]))))

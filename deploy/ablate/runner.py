"""Runs the cells of a grid, some at a time, each as a separate run with all its processes.

Called by ``deploy.ablate.__main__`` from the main thread. A cell is a ``launch.py`` like any
other: it supervises its processes, saves when it is stopped, and leaves a summary.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploy.ablate.check import CheckedCell, read_summary
from deploy.ablate.command import Slot, choose_run_id, launch_command
from deploy.checks import MIN_FREE_BYTES, size
from deploy.supervising import RunMonitor, StopRequests, learner_status
from efficientzero.process.disk_space import LONGEST_WAIT_S, free_bytes
from efficientzero.process.runtime import LAUNCHER_PID_VARIABLE, StopSignal
from efficientzero.rpc.credentials import CredentialsError, credentials_of
from efficientzero.rpc.stubs import run_pb2
from efficientzero.runs.results.run_summary import EVALUATIONS_FILE
from efficientzero.runs.run_folder import RunInfo

State = Literal["waiting", "running", "finished", "skipped", "failed", "interrupted", "not started"]

CommandOf = Callable[[CheckedCell, Slot, str], list[str]]

_POLL_S = 0.2
_STOP_S = 180.0
"""A launcher's own patience with its processes adds up to two minutes."""
_INSIST_EVERY_S = 0.5
_ERROR = re.compile(r"(?:error: | ERROR )(.+)")


@dataclass(slots=True, kw_only=True)
class CellRun:
    """A cell and what became of it."""

    checked: CheckedCell
    state: State = "waiting"
    run_dir: Path | None = None
    log_path: Path | None = None
    reason: str = ""
    """Why it failed."""
    started_s: float = 0.0
    wall_s: float = 0.0
    status: run_pb2.RunStatus | None = None
    """The newest known, while it runs."""

    @property
    def eval_return(self) -> float | None:
        """Mean return of the final evaluation, or the newest."""
        summary = read_summary(self.run_dir) if self.run_dir else {}
        value = summary.get("eval_return_mean")
        return None if value is None else float(value)


@dataclass(slots=True, kw_only=True)
class _Running:
    run: CellRun
    process: subprocess.Popen[bytes]
    slot: Slot
    watch: ExitStack = field(default_factory=ExitStack)
    launch_before: int = -1
    """Of the run folder when the cell was started: an older config names older addresses."""
    is_watched: bool = False
    asked_at: float = 0.0  # monotonic seconds; 0 before it was asked to stop
    insisted_at: float = 0.0


class GridRunner:
    """Keeps as many cells running as there are slots until all have been run."""

    def __init__(
        self,
        cells: Sequence[CheckedCell],
        *,
        runs_dir: Path,
        slots: Sequence[Slot],
        note: Callable[[str], None],
        show: Callable[[Sequence[CellRun]], None],
        command_of: CommandOf | None = None,
    ) -> None:
        """Take the checked cells; those that have finished are skipped.

        Args:
            cells: in the order of running.
            runs_dir: where run folders and the cells' output go.
            slots: one for each cell that may run at a time.
            note: prints one line.
            show: shows all cells, called in every turn of the wait.
            command_of: makes the command of a cell, a slot and a name of the run folder.
        """
        self.runs = [_first_state(cell) for cell in cells]
        self._runs_dir, self._note, self._show = runs_dir.resolve(), note, show
        self._free = list(slots)
        self._running: list[_Running] = []
        self._full_since_s: float | None = None  # monotonic; None while there is room
        self._stop = StopSignal()
        self._command_of = command_of or self._launch

    def run(self, requests: StopRequests) -> int:
        """Run everything; return 0, 1 if a cell failed, 128 + signal if interrupted."""
        self._runs_dir.mkdir(parents=True, exist_ok=True)
        self._stop = requests.stop
        try:
            while not requests.stop.is_set() and (self._running or self._next() is not None):
                self._fill()
                self._review()
                self._show(self.runs)
                requests.stop.wait(_POLL_S)
            while self._running:
                self._stop_all(requests)
                self._review()
                self._show(self.runs)
                time.sleep(_POLL_S)
        finally:
            for running in self._running:  # an error in this module
                running.process.kill()
                running.watch.close()
        for run in self.runs:
            if run.state == "waiting":
                run.state = "not started"
        if requests.stop.is_set():
            return requests.outcome().exit_code
        return int(any(run.state == "failed" for run in self.runs))

    def _next(self) -> CellRun | None:
        return next((run for run in self.runs if run.state == "waiting"), None)

    def _fill(self) -> None:
        while self._free and (run := self._next()) is not None and self._has_room():
            self._start(run, self._free.pop(0))

    def _has_room(self) -> bool:
        """Return whether the disk has the room that a run wants; a full one is a pause."""
        free, now = free_bytes(self._runs_dir), time.monotonic()
        if free >= MIN_FREE_BYTES:
            self._full_since_s = None
            return True
        if self._full_since_s is None:
            self._full_since_s = now
            wanted = f"{size(free)} free, wanted at least {size(MIN_FREE_BYTES)}"
            self._note(f"waiting   for room to start the next cell: {self._runs_dir} has {wanted}")
        return now - self._full_since_s > LONGEST_WAIT_S

    def _start(self, run: CellRun, slot: Slot) -> None:
        run_id = choose_run_id(run.checked, self._runs_dir)
        run.run_dir, run.log_path = self._runs_dir / run_id, self._runs_dir / f"{run_id}.log"
        run.started_s = time.monotonic()
        config = run.checked.cell.config
        env = slot.environment(os.environ, config)
        env[LAUNCHER_PID_VARIABLE] = str(os.getpid())
        before, launch_before = os.sched_getaffinity(0), _newest_launch(run.run_dir)
        try:
            # What the main thread may use is inherited by all that it starts meanwhile.
            os.sched_setaffinity(0, slot.cpus)
            with run.log_path.open("ab") as log:
                process = subprocess.Popen(
                    self._command_of(run.checked, slot, run_id),
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on
                )
        except OSError as error:
            run.state, run.reason = "failed", f"cannot start: {error}"
            self._free.append(slot)
            self._note(f"failed    {run.checked.cell.label}: {run.reason}")
            return
        finally:
            os.sched_setaffinity(0, before)
        run.state = "running"
        self._running.append(
            _Running(run=run, process=process, slot=slot, launch_before=launch_before)
        )
        verb = "resumed  " if run.checked.stopped else "started  "
        self._note(f"{verb} {run.checked.cell.label} as {run_id}")

    def _launch(self, checked: CheckedCell, slot: Slot, run_id: str) -> list[str]:
        return launch_command(checked, slot=slot, run_id=run_id, runs_dir=self._runs_dir)

    def _review(self) -> None:
        for running in list(self._running):
            running.run.wall_s = time.monotonic() - running.run.started_s
            code = running.process.poll()
            if code is None:
                _watch(running, self._stop)
                continue
            running.watch.close()
            self._running.remove(running)
            self._free.append(running.slot)
            self._end(running, code)

    def _end(self, running: _Running, code: int) -> None:
        run = running.run
        assert run.run_dir is not None
        summary = read_summary(run.run_dir)
        if code == 0:
            run.state = "finished"
            value = run.eval_return
            result = "no evaluation" if value is None else f"return {value:.4g}"
            self._note(f"finished  {run.checked.cell.label}: {result}, {run.wall_s:.0f} s")
        elif running.asked_at:
            run.state = "interrupted"
            self._note(f"stopped   {run.checked.cell.label}, {_saved(run.run_dir)}")
        else:
            run.state = "failed"
            reasons = [summary.get("exit_reason", ""), _last_error(run.log_path)]
            run.reason = "; ".join(filter(None, reasons)) or f"ended with code {code}"
            self._note(f"failed    {run.checked.cell.label}: {run.reason} (see {run.log_path})")

    def _stop_all(self, requests: StopRequests) -> None:
        """Ask the running cells to stop in order; pass on a second Ctrl-C; kill what stays."""
        now = time.monotonic()
        for running in self._running:
            if not running.asked_at:
                running.asked_at = running.insisted_at = now
                running.process.send_signal(signal.SIGINT)
            elif now - running.asked_at > _STOP_S:
                self._note(f"{running.run.checked.cell.label} is killed after {_STOP_S:.0f} s")
                running.process.kill()
            elif requests.is_firm and now - running.insisted_at > _INSIST_EVERY_S:
                running.insisted_at = now
                running.process.send_signal(signal.SIGINT)


def _first_state(checked: CheckedCell) -> CellRun:
    if checked.finished is None:
        return CellRun(checked=checked)
    return CellRun(checked=checked, state="skipped", run_dir=checked.finished)


def _watch(running: _Running, stop: StopSignal) -> None:
    """Follow the cell's own status once its run folder says where."""
    run = running.run
    if running.is_watched or run.run_dir is None or not (run.run_dir / "config.json").exists():
        return
    try:
        info = RunInfo.load(run.run_dir / "config.json")
        if info.num_resumes <= running.launch_before:
            return  # the launcher has not written it yet
        credentials = credentials_of(run.run_dir)
        fetch = running.watch.enter_context(learner_status(info.learner_address, credentials))
    except CredentialsError:  # not yet: the tokens are written after the config
        return
    except ValueError:  # a launcher that is no launcher; its cell is run without being watched
        running.is_watched = True
        return
    running.is_watched = True

    def take(status: run_pb2.RunStatus | None, silent_s: float) -> None:
        del silent_s
        run.status = status

    evaluations = run.run_dir / EVALUATIONS_FILE
    running.watch.enter_context(
        RunMonitor(fetch, evaluations_path=evaluations, show=take, stop=stop)
    )


def _newest_launch(run_dir: Path) -> int:
    """Return the number of a run folder's newest launch; -1 where there is none."""
    try:
        return RunInfo.load(run_dir / "config.json").num_resumes
    except ValueError:
        return -1


def _saved(run_dir: Path) -> str:
    """Say whether a stopped run can go on."""
    from efficientzero.runs.checkpoint import list_checkpoints  # noqa: PLC0415  imports torch

    try:
        saved = list_checkpoints(run_dir / "checkpoints")
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"
    return f"saved in {run_dir}" if saved else f"before its first checkpoint: {run_dir}"


def _last_error(path: Path | None) -> str:
    """Return the last error that the launcher or a role printed."""
    try:
        errors = _ERROR.findall(path.read_text(errors="replace")) if path else []
    except OSError:
        return ""
    return str(errors[-1]) if errors else ""

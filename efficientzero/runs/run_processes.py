"""The processes on this machine that work in a run folder, found by their command lines.

Nothing is read from the folder, because a copy of it would name another run's processes. A process
belongs to the folder if its ``--config`` is the folder's own file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from efficientzero.process.runtime import LAUNCHER_PID_VARIABLE, PlainError
from efficientzero.runs.run_folder import CONFIG_FILE

_ROLES = {
    "replay": "replay",
    "learner": "learner",
    "learner.rank": "rank",
    "reanalyzer": "reanalyzer",
    "actor": "actor",
    "actor.evaluator": "evaluator",
}
"""By Python module."""


class AtWork(PlainError):
    """Another process of the same name works in the run folder."""

    is_permanent = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProcess:
    """A running process of a run."""

    pid: int
    start_time: str
    """Clock ticks since the machine started; with ``pid`` it names one process for good."""
    role: str
    index: str
    is_orphan: bool
    """The launcher that started it is gone."""

    @property
    def name(self) -> str:
        """Role and index: ``learner-0``."""
        return f"{self.role}-{self.index}"

    def is_running(self) -> bool:
        """Return whether it still runs and its pid is not reused."""
        stat = _stat(self.pid)
        return bool(stat) and stat[19] == self.start_time and stat[0] != "Z"


def processes_in(directory: Path) -> list[RunProcess]:
    """Return the roles' processes that work in a run folder, except the caller."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            process = _process(int(entry.name), directory / CONFIG_FILE)
            if process is not None:
                found.append(process)
    return sorted(found, key=lambda process: process.pid)


def check_alone(directory: Path, name: str) -> None:
    """Check that no other process on this machine has this name.

    Raises:
        AtWork: one has. A process that a dead launcher left behind does not count.
    """
    for process in processes_in(directory):
        if process.name == name and not process.is_orphan:
            raise AtWork(
                f"{directory}: got a second {name}, wanted one: process {process.pid} runs already"
            )


def _process(pid: int, config: Path) -> RunProcess | None:
    """Return the process if it is a role's with this file as its ``--config``."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        if not Path(arguments[0]).name.startswith("python"):
            return None  # `timeout` or an init process with the role's command behind it
        role = _ROLES.get(_after(arguments, "-m"), "")
        given = _after(arguments, "--config")
        if not role or not given:
            return None
        if not (Path(f"/proc/{pid}/cwd") / given).samefile(config):
            return None
        environment = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    except OSError:  # ended meanwhile, another user's, or its folder is gone
        return None
    stat = _stat(pid)
    if not stat or stat[0] == "Z":
        return None
    prefix = f"{LAUNCHER_PID_VARIABLE}="
    launcher = next((v.removeprefix(prefix) for v in environment if v.startswith(prefix)), "")
    return RunProcess(
        pid=pid,
        start_time=stat[19],
        role=role,
        index=_after(arguments, "--index") or "0",
        is_orphan=bool(launcher) and launcher != stat[1],
    )


def _after(arguments: list[str], option: str) -> str:
    """Return the value of an option, separate or joined by ``=``; empty if it is not there."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == option:
            return following
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return ""


def _stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` after the command's name; none if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the name may hold blanks and brackets

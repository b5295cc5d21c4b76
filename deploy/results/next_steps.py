"""What the last lines of a run advise: how it goes on, and what to try next.

Called when a run has ended. Every command is quoted and works from the folder it is shown in.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from efficientzero.runs.run_folder import RunInfo

_LAUNCHER = Path(__file__).resolve().parents[2] / "launch.py"

DEFAULT_CPU_PRESET = "catch"
"""What a machine without a CUDA device trains when nothing is named: it learns within minutes."""

_TRY_NEXT = (
    ("another task, 7 to 9 minutes", ("--local", "--preset", "cartpole")),
    ("an Atari game, half an hour", ("--local", "--env", "ALE/Breakout-v5")),
)


def own_command(*options: str) -> str:
    """Return a command line of ``launch.py`` with the interpreter that runs here, quoted."""
    found = shutil.which("python")
    is_first = found is not None and Path(found).parent == Path(sys.executable).parent
    python = "python" if is_first else _from_here(Path(sys.executable))
    return shlex.join([python, _from_here(_LAUNCHER), *options])


def resume_advice(run: RunInfo, *, is_served: bool) -> str:
    """Return the command by which a run that was stopped goes on, or why there is none.

    Args:
        run: the run.
        is_served: its workers join from elsewhere.
    """
    if run.config.cluster.deterministic:
        return "a deterministic run cannot go on: start it again, its seed gives the same weights"
    where = "--serve" if is_served else "--local"
    return own_command(where, "--resume", _from_here(run.directory))


def try_next(run: RunInfo) -> list[tuple[str, str]]:
    """Return what somebody may do after a first run: in a few words, and the command."""
    folder = _from_here(run.directory)
    page = ("this run as a page", own_command("report", folder, "--out", "report"))
    return [*((what, own_command(*options)) for what, options in _TRY_NEXT), page]


def _from_here(path: Path) -> str:
    """Return a path below the current folder as it is from there, another one whole."""
    here = Path(os.path.abspath(os.curdir))
    return str(path.relative_to(here) if path.is_relative_to(here) else path)

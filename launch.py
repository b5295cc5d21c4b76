"""The command line: ``python launch.py --local`` trains; other commands are listed by ``--help``.

Plans a run and hands it to the supervisor, or hands the rest of the line to one of the commands.
A command's module is imported when it is asked for: some need torch, which takes seconds.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

from deploy.interrupt import flush_or_drop, leave_when_interrupted

if __name__ == "__main__":
    leave_when_interrupted()

from deploy.checks import PreflightError
from deploy.launching import local_credentials, make_plan
from deploy.supervising import run_locally
from efficientzero.config import ConfigError, nearest
from efficientzero.process.runtime import LAUNCHER_PID_VARIABLE, die_with_parent


class Command(NamedTuple):
    """One word that may stand in front."""

    module: str  # whose ``main`` takes the arguments after the word and returns the exit code
    meaning: str  # its line in --help


COMMANDS = {
    "ablate": Command("deploy.ablate.__main__", "train a grid: components, values, seeds"),
    "report": Command("deploy.report.__main__", "compare runs: a page, tables and pictures"),
    "evaluate": Command("actor.tools.evaluate", "play games with a run's saved weights"),
    "match": Command("actor.tools.match", "play two runs, or a run and a baseline, in turn games"),
    "search": Command("actor.tools.show_search", "draw one decision and its search tree"),
    "status": Command("deploy.supervising.status", "every process of a run, or how the run ended"),
}


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    word = arguments[0] if arguments else "-"
    if word in COMMANDS:
        return int(importlib.import_module(COMMANDS[word].module).main(arguments[1:]))
    try:
        if not word.startswith("-"):
            meant = nearest(word, list(COMMANDS))
            names = ", ".join(COMMANDS)
            raise ConfigError(f"got {word!r}, wanted an option or one of {names}{meant}")
        plan = make_plan(arguments, [(name, one.meaning) for name, one in COMMANDS.items()])
    except (ConfigError, PreflightError) as error:
        print(f"launch.py: error: {error}", file=sys.stderr)
        return 2
    if isinstance(plan, str):
        print(plan)
        return 0
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a closed terminal must not kill the launcher
    if LAUNCHER_PID_VARIABLE in os.environ:
        die_with_parent()  # started by `launch.py ablate`, which must not leave runs behind
    try:
        with plan.lock, local_credentials(plan.run):
            return run_locally(plan)
    except PreflightError as error:
        print(f"launch.py: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # "--help | head" is no error
    try:
        sys.exit(main(sys.argv[1:]))
    finally:
        flush_or_drop()

"""Run as ``python -m benchmarks [search | mctx | curves | logging]``; nothing: ``search``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from benchmarks.beside_mctx import MctxCommand, measure_mctx
from benchmarks.curves import CurvesCommand, write_curves
from benchmarks.logging_cost import LoggingCommand, measure_logging
from benchmarks.report import SearchCommand, measure_search

_MORE = (
    "\nMore: `python -m benchmarks search --json` prints one JSON object a row;"
    "\n      `python -m benchmarks mctx` compares the trees with mctx;"
    "\n      `python -m benchmarks curves runs/* --out docs/cartpole.png` draws learning curves;"
    "\n      `python -m benchmarks logging` measures what metric rows cost;"
    "\n      `--help` after any of them explains it."
)

_Command = (
    Annotated[SearchCommand, tyro.conf.subcommand("search")]
    | Annotated[MctxCommand, tyro.conf.subcommand("mctx")]
    | Annotated[CurvesCommand, tyro.conf.subcommand("curves")]
    | Annotated[LoggingCommand, tyro.conf.subcommand("logging")]
)


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    command: SearchCommand | MctxCommand | CurvesCommand | LoggingCommand = tyro.cli(
        _Command,
        args=arguments or ["search"],
        prog="python -m benchmarks",
        description="Measure search or logging, or draw the evaluations of runs. Nothing: search.",
    )
    try:
        if isinstance(command, SearchCommand):
            measure_search(command)
        elif isinstance(command, MctxCommand):
            measure_mctx(command)
        elif isinstance(command, LoggingCommand):
            measure_logging(command)
        else:
            write_curves(command)
    except ValueError as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        return 2
    if not arguments:
        print(_MORE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

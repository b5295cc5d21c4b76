"""Run as ``python -m benchmarks COMMAND``; without a command: ``search``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import tyro

from benchmarks.baselines.command import BaselinesCommand, train_baselines
from benchmarks.beside_mctx import MctxCommand, measure_mctx
from benchmarks.cpu_profile import CpuCommand, write_profile
from benchmarks.curves import CurvesCommand, write_curves
from benchmarks.games.command import GamesCommand, write_games
from benchmarks.learning.command import LearningCommand, measure_learning
from benchmarks.logging_cost import LoggingCommand, measure_logging
from benchmarks.metric_ends import MetricsCommand, write_metrics
from benchmarks.pipeline import PipelineCommand, measure_pipeline
from benchmarks.report import SearchCommand, measure_search
from benchmarks.simulations import SimulationsCommand, measure_simulations
from efficientzero.options import parse_options

_MORE = (
    "\nMore: `python -m benchmarks search --json` prints one JSON object a row;"
    "\n      `python -m benchmarks mctx` compares the trees with mctx;"
    "\n      `python -m benchmarks learning` trains small tasks for hours (--dry-run: how long);"
    "\n      `python -m benchmarks baselines` trains plain DQN and PPO on the same tasks;"
    "\n      `python -m benchmarks games GRID.toml --out PAGE.md` compares over games;"
    "\n      `python -m benchmarks cpu runs/*` tells where their CPU-seconds went;"
    "\n      `python -m benchmarks simulations runs/*` plays their weights with other searches;"
    "\n      `python -m benchmarks metrics runs/* --names METRIC --out PAGE.md` compares metrics;"
    "\n      `python -m benchmarks curves runs/* --out PICTURE.png` draws learning curves;"
    "\n      `python -m benchmarks logging` measures what metric rows cost;"
    "\n      `python -m benchmarks pipeline` measures replay, actors and their scaling;"
    "\n      `--help` after any of them explains it."
)

_Command = (
    Annotated[SearchCommand, tyro.conf.subcommand("search")]
    | Annotated[MctxCommand, tyro.conf.subcommand("mctx")]
    | Annotated[LearningCommand, tyro.conf.subcommand("learning")]
    | Annotated[CurvesCommand, tyro.conf.subcommand("curves")]
    | Annotated[BaselinesCommand, tyro.conf.subcommand("baselines")]
    | Annotated[GamesCommand, tyro.conf.subcommand("games")]
    | Annotated[CpuCommand, tyro.conf.subcommand("cpu")]
    | Annotated[SimulationsCommand, tyro.conf.subcommand("simulations")]
    | Annotated[MetricsCommand, tyro.conf.subcommand("metrics")]
    | Annotated[LoggingCommand, tyro.conf.subcommand("logging")]
    | Annotated[PipelineCommand, tyro.conf.subcommand("pipeline")]
)


_RUN: dict[type, Callable[[Any, Sequence[str]], int | None]] = {
    SearchCommand: lambda command, _: measure_search(command),
    MctxCommand: lambda command, _: measure_mctx(command),
    LearningCommand: measure_learning,
    CurvesCommand: lambda command, _: write_curves(command),
    BaselinesCommand: lambda command, _: train_baselines(command),
    GamesCommand: write_games,
    CpuCommand: write_profile,
    SimulationsCommand: measure_simulations,
    MetricsCommand: write_metrics,
    LoggingCommand: lambda command, _: measure_logging(command),
    PipelineCommand: lambda command, _: measure_pipeline(command),
}
"""What runs each command, given it and the command line; None is exit code 0."""


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    command = parse_options(
        _Command,
        arguments or ["search"],
        prog="python -m benchmarks",
        description="Measure search, processes, learning or logging, or draw. Nothing: search.",
    )
    try:
        exit_code = _RUN[type(command)](command, arguments)
    except ValueError as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        return 2
    if not arguments:
        print(_MORE)
    return exit_code or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

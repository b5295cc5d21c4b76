"""Run as ``python -m benchmarks COMMAND``; without a command: ``search``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import tyro

from benchmarks.baselines.command import BaselinesCommand, train_baselines
from benchmarks.learning.command import LearningCommand, write_learning
from benchmarks.learning.variants import VariantsCommand, write_variants
from benchmarks.logging_cost import LoggingCommand, measure_logging
from benchmarks.pages.cpu_profile import CpuCommand, write_profile
from benchmarks.pages.metric_ends import MetricsCommand, write_metrics
from benchmarks.pages.simulations import SimulationsCommand, measure_simulations
from benchmarks.pipeline.command import PipelineCommand, measure_pipeline
from benchmarks.report import SearchCommand, measure_search
from benchmarks.search.beside_mctx import MctxCommand, measure_mctx
from efficientzero.process.options import parse_options

_MORE = (
    "\nMore: `python -m benchmarks search --json` prints one JSON object a row;"
    "\n      `python -m benchmarks mctx` compares the trees with mctx;"
    "\n      `python -m benchmarks learning GRID.toml --out PAGE.md` shows a grid's finished runs;"
    "\n      `python -m benchmarks variants` makes one page of all studies of variants;"
    "\n      `python -m benchmarks baselines` trains plain DQN, PPO and SAC on the same tasks;"
    "\n      `python -m benchmarks cpu runs/*` shows where their CPU-seconds went;"
    "\n      `python -m benchmarks simulations runs/*` plays their weights with other searches;"
    "\n      `python -m benchmarks metrics runs/* --names METRIC --out PAGE.md` compares metrics;"
    "\n      `python -m benchmarks logging` measures what metric rows cost;"
    "\n      `python -m benchmarks pipeline` measures replay, actors and their scaling;"
    "\n      `--help` after any of them explains it."
)

_Command = (
    Annotated[SearchCommand, tyro.conf.subcommand("search")]
    | Annotated[MctxCommand, tyro.conf.subcommand("mctx")]
    | Annotated[LearningCommand, tyro.conf.subcommand("learning")]
    | Annotated[VariantsCommand, tyro.conf.subcommand("variants")]
    | Annotated[BaselinesCommand, tyro.conf.subcommand("baselines")]
    | Annotated[CpuCommand, tyro.conf.subcommand("cpu")]
    | Annotated[SimulationsCommand, tyro.conf.subcommand("simulations")]
    | Annotated[MetricsCommand, tyro.conf.subcommand("metrics")]
    | Annotated[LoggingCommand, tyro.conf.subcommand("logging")]
    | Annotated[PipelineCommand, tyro.conf.subcommand("pipeline")]
)


_RUN: dict[type, Callable[[Any, Sequence[str]], int | None]] = {
    SearchCommand: lambda command, _: measure_search(command),
    MctxCommand: lambda command, _: measure_mctx(command),
    LearningCommand: write_learning,
    VariantsCommand: write_variants,
    BaselinesCommand: lambda command, _: train_baselines(command),
    CpuCommand: write_profile,
    SimulationsCommand: measure_simulations,
    MetricsCommand: write_metrics,
    LoggingCommand: lambda command, _: measure_logging(command),
    PipelineCommand: lambda command, _: measure_pipeline(command),
}
"""Functions that run the commands, given command and command line; None is exit code 0."""


def _without_logs(command: Any) -> Any:  # noqa: ANN401  any of the commands
    """Leave out, of run folders, the output files that `launch.py ablate` writes next to them."""
    given = getattr(command, "runs", ())
    logs = [path for path in given if path.suffix == ".log" and path.is_file()]
    if not logs:
        return command
    print(f"left out: {len(logs)} .log files, no run folders", file=sys.stderr)
    return replace(command, runs=tuple(path for path in given if path not in logs))


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    command = parse_options(
        _Command,
        arguments or ["search"],
        prog="python -m benchmarks",
        description="Measure search, processes, learning or logging, or draw. Nothing: search.",
    )
    try:
        exit_code = _RUN[type(command)](_without_logs(command), arguments)
    except ValueError as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        return 2
    if not arguments:
        print(_MORE)
    return exit_code or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

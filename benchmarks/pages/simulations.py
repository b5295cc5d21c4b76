"""The command ``simulations``: returns of longer and shorter searches with the same weights.

Plays each run's newest checkpoint with several numbers of simulations, and with only the policy
head, on the games of its final evaluation. Results stored in the run's folder are not played again.
"""

from __future__ import annotations

import csv
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure

from benchmarks.learning.intervals import CONFIDENCE, Interval, mean_interval
from benchmarks.pages.markdown import interval_text, table
from benchmarks.pages.played_games import play_once
from efficientzero.process.runtime import StopSignal, install_stop_handlers
from efficientzero.runs.results.run_summary import newest_train_step
from efficientzero.runs.run_folder import RunInfo

_DPI = 100
_COLOR, _PRIOR_COLOR, _BAND = "#4477aa", "#ee7733", 0.18
_STOP_GRACE_S = 150.0
_PRIOR = 0
"""Stands for no search at all: the policy head's most likely action."""
_COLUMNS = ("env", "run", "seed", "simulations", "episodes", "return_mean", "train_step", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationsCommand:
    """Play runs' newest checkpoints with several numbers of simulations per search.

    The same weights and games each time, so that runs (or the games of one run) are pairs.
    Results are kept in the run folders: the same command continues after an interruption.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of one task, one per seed."""
    simulations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Numbers of simulations per search."""
    episodes: int = 0
    """Games of each. 0: as many as the run's final evaluation."""
    out: Path
    """The PNG to write; page and CSV get the same name with .md and .csv."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One run's games with each number of simulations, 0 for the policy head alone."""

    run: RunInfo
    results: Mapping[int, dict[str, Any]]

    def mean(self, simulations: int) -> float:
        """Return the mean return over the games."""
        return float(self.results[simulations]["return_mean"])


def measure_simulations(command: SimulationsCommand, arguments: Sequence[str]) -> int:
    """Do it and return the exit code: 0, or 130 or 143 if stopped.

    Args:
        command: what to do.
        arguments: the command line, for the page.

    Raises:
        ValueError: the command makes no sense, or a run cannot be played; nothing is written.
    """
    runs = _runs(command)
    stop = StopSignal()
    install_stop_handlers(stop, exit_grace_s=_STOP_GRACE_S)
    played = []
    for run in runs:
        results = {}
        for count in (_PRIOR, *sorted(set(command.simulations))):
            result = play_once(
                run,
                "prior" if count == _PRIOR else "search",
                simulations=count,
                episodes=command.episodes,
                stop=stop,
            )
            if result is None:
                _note(f"stopped ({stop.reason}); the same command goes on from here")
                return 143 if stop.reason == "SIGTERM" else 130
            results[count] = result
        played.append(Played(run=run, results=results))
    text = make_page(
        played,
        picture=command.out.name,
        command=shlex.join(("python", "-m", "benchmarks", *arguments)),
    )
    try:
        command.out.parent.mkdir(parents=True, exist_ok=True)
        draw(played).savefig(command.out, dpi=_DPI)
        command.out.with_suffix(".md").write_text(text)
        _write_csv(command.out.with_suffix(".csv"), played)
    except OSError as error:
        where = error.filename or command.out
        raise ValueError(f"--out: cannot write {where} ({error.strerror})") from error
    print(text, end="")
    return 0


def levels(played: Sequence[Played]) -> dict[int, tuple[Interval, Interval]]:
    """Return simulations -> return, and its difference to the run's own number of simulations.

    Intervals are over runs; of a single run over its games, which are the same for each number.
    Where the run's own number was not played, the largest stands for it.
    """
    counts = list(played[0].results)
    own = played[0].run.config.search.num_simulations
    own = own if own in counts else max(counts)
    found = {}
    for count in counts:
        if len(played) == 1:
            values = np.array(played[0].results[count]["returns"], np.float64)
            baseline = np.array(played[0].results[own]["returns"], np.float64)
        else:
            values = np.array([one.mean(count) for one in played])
            baseline = np.array([one.mean(own) for one in played])
        pair = mean_interval(values.tolist()), mean_interval((values - baseline).tolist())
        found[count] = pair
    return found


def make_page(played: Sequence[Played], *, picture: str, command: str) -> str:
    """Return the page.

    Args:
        played: at least one run.
        picture: the picture's file name.
        command: what made the page.
    """
    first = played[0]
    own = first.run.config.search.num_simulations
    over = f"{len(played)} seeds" if len(played) > 1 else "the games of one run"
    games = len(first.results[_PRIOR]["returns"])
    rows: list[tuple[object, ...]] = []
    for count, (reached, difference) in levels(played).items():
        seconds = np.mean([one.results[count]["seconds"] for one in played])
        name = "no search" if count == _PRIOR else str(count)
        cells = (interval_text(reached), interval_text(difference), f"{seconds:.1f}")
        rows.append((name, reached.n, *cells))
    titles = ("simulations", "n", "return", "difference to the run's own", "seconds")
    runs = [
        (one.run.directory.name, one.run.config.seed, one.results[_PRIOR]["train_step"])
        for one in played
    ]
    csv_name = Path(picture).with_suffix(".csv").name
    parts = [
        f"# Return against simulations: {first.run.config.env.id}",
        f"Made by `{command}`. The newest weights of each run, trained with {own} simulations of "
        f"{first.run.config.search.algorithm}, play the same {games} greedy games with each number "
        "of simulations, and by the policy head's most likely action (no search). In brackets the "
        f"{CONFIDENCE:.0%} bootstrap interval over {over}; differences are those of pairs. Seconds "
        f"are on the wall. Every number: [{csv_name}]({csv_name}).",
        f"![return against simulations]({picture})",
        table(titles, rows),
        table(("run", "seed", "train_step"), runs),
    ]
    return "\n\n".join(parts) + "\n"


def draw(played: Sequence[Played]) -> Figure:
    """Return the figure: each run thin, the mean bold with its interval, no search dashed."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    known = levels(played)
    counts = [count for count in known if count != _PRIOR]
    for one in played if len(played) > 1 else ():
        returns = [one.mean(count) for count in counts]
        axes.plot(counts, returns, color=_COLOR, linewidth=0.6, alpha=0.6)
    reached = [known[count][0] for count in counts]
    lows, highs = [r.low for r in reached], [r.high for r in reached]
    axes.fill_between(counts, lows, highs, color=_COLOR, alpha=_BAND, linewidth=0)
    means = [r.mean for r in reached]
    axes.plot(counts, means, "o-", color=_COLOR, linewidth=2.2, label="search")
    axes.axhline(known[_PRIOR][0].mean, color=_PRIOR_COLOR, linestyle="--", label="no search")
    own = played[0].run.config.search.num_simulations
    axes.axvline(own, color="gray", linewidth=1.0, linestyle=":", label="as trained")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xlabel("simulations per search")
    axes.set_ylabel("return")
    what = f"{len(played)} seeds" if len(played) > 1 else "one run's games"
    axes.set_title(f"{played[0].run.config.env.id} ({what})", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)
    axes.legend(frameon=False, fontsize="small")
    return figure


def _runs(command: SimulationsCommand) -> list[RunInfo]:
    if not command.runs or command.out.suffix != ".png":
        got = f"{len(command.runs)} runs and --out {command.out}"
        raise ValueError(f"got {got}, wanted at least one run and a .png")
    if not command.simulations or min(command.simulations) < 1:
        raise ValueError(f"--simulations: got {command.simulations}, wanted numbers from 1 on")
    if command.episodes < 0:
        raise ValueError(f"--episodes: got {command.episodes}, wanted 0 or more")
    runs = [RunInfo.load(folder / "config.json") for folder in command.runs]
    labels = sorted({f"{r.config.env.id} with {r.config.search.num_simulations}" for r in runs})
    if len(labels) > 1:
        raise ValueError(f"got runs of {' and '.join(labels)} simulations, wanted one task")
    seeds = [run.config.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"got runs with seeds {sorted(seeds)}, wanted one of each")
    for run in runs:
        if newest_train_step(run) is None:
            raise ValueError(f"{run.directory}: no checkpoint yet; train for a while first")
    return sorted(runs, key=lambda run: run.config.seed)


def _write_csv(path: Path, played: Sequence[Played]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for one in played:
            config = one.run.config
            for count, result in one.results.items():
                which = (config.env.id, one.run.directory.name, config.seed, count)
                mean = f"{result['return_mean']:.6g}"
                facts = (len(result["returns"]), mean, result["train_step"], result["seconds"])
                writer.writerow([*which, *facts])


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

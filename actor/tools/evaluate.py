"""Evaluate runs from their checkpoints, with no other process running.

Run as ``python launch.py evaluate RUN``, or with ``--env CartPole-v1 --seeds 0 1`` for the newest
run of each seed. The first games are those of the run's final evaluation. ``--policy prior`` plays
without search and ``--policy random`` without weights, to measure what each contributes;
``--simulations`` measures a longer or shorter search. Each result is printed, and saved in the
run's folder: ``evaluation-<policy>.json`` or ``evaluation-search-<simulations>.json``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from actor.tools.saved_run import Policy, play
from efficientzero.config import validate
from efficientzero.process.options import parse_options
from efficientzero.process.runtime import StopSignal, install_stop_handlers
from efficientzero.runs.checkpoint import list_checkpoints
from efficientzero.runs.run_folder import RunInfo, write_json

_PROG = "launch.py evaluate"
_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to evaluate."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders. Default: those that --env and --seeds choose."""
    env: str = ""
    """Environment of the runs to look for in --runs-dir."""
    seeds: tuple[int, ...] = ()
    """Their seeds; the newest run of each is taken."""
    runs_dir: Path = Path("runs")
    """Where run folders lie."""
    policy: Policy = "search"
    """search: as in the run's evaluations. prior: without any search, the policy head's most likely
    action, or that of the highest Q. random: uniformly random actions, without any weights."""
    episodes: int = 0
    """Games, side by side. 0: as many as the run's final evaluation."""
    simulations: int = 0
    """Simulations per search. 0: as in the run."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object per run instead of a line."""


def evaluate(
    run: RunInfo, policy: Policy, *, episodes: int, simulations: int = 0, stop: StopSignal
) -> dict[str, Any] | None:
    """Play greedy games and return the result, or None if a stop was requested.

    Raises:
        ValueError: no checkpoint, or a number below zero.
    """
    started = time.monotonic()
    if simulations:
        run = with_simulations(run, policy, simulations)
    played = play(run, policy, episodes, stop)
    if played is None:
        return None
    returns = [result.episode_return for result in played.results]
    return {
        "run_id": run.run_id,
        "env_id": run.env_spec.env_id,
        "group": run.group,
        "seed": run.config.seed,
        "config_hash": run.config_hash,
        "policy": policy,
        "num_simulations": run.config.evaluator_simulations if policy == "search" else 0,
        "train_step": played.train_step,
        "return_mean": float(np.mean(returns)),
        "return_std": float(np.std(returns)),
        "returns": returns,
        "lengths": [result.length for result in played.results],
        **({"scores": [score._asdict() for score in played.scores]} if played.scores else {}),
        "seconds": round(time.monotonic() - started, 1),
    }


def with_simulations(run: RunInfo, policy: Policy, simulations: int) -> RunInfo:
    """Return the run with another number of simulations per search.

    Raises:
        ValueError: the policy does not search, or the search cannot use this number.
    """
    if policy != "search":
        raise ValueError(f"--simulations: got {simulations} with --policy {policy}, wanted search")
    evaluator = replace(run.config.evaluator, simulations=simulations)
    config = replace(run.config, evaluator=evaluator)  # only these games: targets are made already
    validate(config, run.env_spec)
    return replace(run, config=config)


def find_runs(options: Options) -> list[RunInfo]:
    """Return the given runs, or the newest one of each seed.

    Raises:
        ValueError: a folder that is not a run, or a seed without a run that has a checkpoint.
    """
    if options.runs:
        return [RunInfo.load(folder / "config.json") for folder in options.runs]
    if not options.env or not options.seeds:
        raise ValueError("got no run, wanted run folders, or --env and --seeds")
    found: dict[int, tuple[float, RunInfo]] = {}
    for path in options.runs_dir.glob("*/config.json"):
        try:
            checkpoints = list_checkpoints(path.parent / "checkpoints")
            run = RunInfo.load(path)
        except (OSError, ValueError):  # of another user, or of another version
            continue
        if not checkpoints:
            continue
        written, seed = checkpoints[-1].stat().st_mtime, run.config.seed
        if run.config.env.id == options.env and written > found.get(seed, (0.0, run))[0]:
            found[seed] = written, run
    for seed in options.seeds:
        if seed not in found:
            raise ValueError(
                f"--seeds: got {seed}, but {options.runs_dir} has no run of {options.env} with "
                "that seed and a checkpoint"
            )
    return [found[seed][1] for seed in options.seeds]


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    options: Options = parse_options(Options, arguments, prog=_PROG, description=__doc__)
    stop = StopSignal()
    install_stop_handlers(stop)
    try:
        for run in find_runs(options):
            result = evaluate(
                run,
                options.policy,
                episodes=options.episodes,
                simulations=options.simulations,
                stop=stop,
            )
            if result is None:
                return _INTERRUPTED
            print(json.dumps(result) if options.json else _line(run, result), flush=True)
            length = f"-{options.simulations}" if options.simulations else ""
            _keep(run.directory / f"evaluation-{options.policy}{length}.json", result)
    except ValueError as error:
        print(f"{_PROG}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _keep(path: Path, result: dict[str, Any]) -> None:
    """Write the result, already printed; in a read-only folder print a note instead."""
    try:
        write_json(path, result)
    except OSError as error:
        print(f"{_PROG}: note: {path} is not written ({error.strerror})", file=sys.stderr)


def _line(run: RunInfo, result: dict[str, Any]) -> str:
    step, returns = result["train_step"], result["returns"]
    weights = "no weights" if step is None else f"train_step {step}"
    return (
        f"{run.directory.name}: policy {result['policy']}, {weights}: mean return "
        f"{result['return_mean']:.4g} over {len(returns)} episodes (median "
        f"{np.median(returns):.4g}, {min(returns):.4g} to {max(returns):.4g}), "
        f"{result['seconds']} s{scores_in_words(result.get('scores', []))}"
    )


def scores_in_words(scores: Sequence[Mapping[str, Any]]) -> str:
    """Return the games against each baseline, with two players: nothing with one."""
    parts = []
    for name in dict.fromkeys(score["name"] for score in scores):
        counts = [
            sum(score[kind] for score in scores if score["name"] == name)
            for kind in ("wins", "draws", "losses")
        ]
        parts.append("; against {}: {} won, {} drawn, {} lost".format(name, *counts))
    return "".join(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

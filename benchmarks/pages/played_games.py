"""Games that a run's newest weights play for a page: played once, kept in the run folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from actor.tools.evaluate import evaluate
from actor.tools.saved_run import Policy
from efficientzero.process.runtime import StopSignal
from efficientzero.runs.results.run_summary import newest_train_step
from efficientzero.runs.run_folder import RunInfo, write_json


def play_once(
    run: RunInfo, policy: Policy, *, simulations: int = 0, episodes: int = 0, stop: StopSignal
) -> dict[str, Any] | None:
    """Return the stored games of a run's newest weights, or play them and store the result.

    Args:
        run: with a checkpoint, if it was not played before.
        policy: the policy that plays; ``random`` needs no weights.
        simulations: of each search; 0: as in the run.
        episodes: games; 0: as many as the run's final evaluation.
        stop: ends the games.

    Returns:
        The result of ``launch.py evaluate``; None if stopped.

    Raises:
        ValueError: the run cannot be played so, or the result cannot be kept.
    """
    name = f"{policy}-{simulations}" if simulations else policy
    path = run.directory / f"evaluation-{name}.json"
    train_step = None if policy == "random" else newest_train_step(run)
    num_games = episodes or run.config.evaluator.final_num_episodes
    for kept in (path, run.directory / f"baseline-{name}.json"):  # as older versions called it
        known = _read(kept)
        if known is None or len(known["returns"]) != num_games:
            continue
        if train_step in (None, known["train_step"]):  # None also without checkpoints
            return known
    result = evaluate(run, policy, episodes=episodes, simulations=simulations, stop=stop)
    if result is None:
        return None
    print(
        f"{run.directory.name}: {name}: return {result['return_mean']:.4g}, {result['seconds']} s",
        file=sys.stderr,
        flush=True,
    )
    try:
        write_json(path, result)
    except OSError as error:
        raise ValueError(f"{path}: cannot be kept ({error.strerror})") from error
    return result


def _read(path: Path) -> dict[str, Any] | None:
    """Return a result that was kept; None if there is none, or it is damaged."""
    try:
        result: dict[str, Any] = json.loads(path.read_text())
        float(result["return_mean"]), float(result["seconds"]), result["train_step"]
        return result if isinstance(result["returns"], list) else None
    except (OSError, KeyError, TypeError, ValueError):
        return None

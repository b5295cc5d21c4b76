"""Evaluate runs from their checkpoints: greedy episodes, with no other process running.

Run as ``python -m actor.evaluate --env CartPole-v1 --seeds 0 1`` (the newest run of each seed) or
with run folders. The episodes begin with those of the run's own final evaluation. Each result
goes to ``runs/<id>/evaluation.json``.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from actor.evaluator import ROLE, evaluation_seeds, play_episodes
from efficientzero.checkpoint import list_checkpoints, load_checkpoint
from efficientzero.devices import setup_torch
from efficientzero.envs import make_env_batch
from efficientzero.networks import EfficientZeroNet
from efficientzero.run_folder import RunInfo, write_json
from efficientzero.runtime import StopSignal, generator, install_stop_handlers
from efficientzero.search import BatchedSearch

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
    episodes: int = 32
    """Episodes, played side by side."""


def evaluate(run: RunInfo, *, episodes: int, stop: StopSignal) -> dict[str, Any] | None:
    """Play greedy episodes with the run's newest checkpoint, limited as its final evaluation is.

    Returns:
        The result, or None if a stop was asked for.

    Raises:
        ValueError: no checkpoint.
    """
    config, started = run.config, time.monotonic()
    checkpoints = list_checkpoints(run.directory / "checkpoints")
    if not checkpoints:
        raise ValueError(f"{run.directory}: no checkpoint yet; train for a while first")
    state = load_checkpoint(checkpoints[-1])
    device = setup_torch(config.cluster)
    network = EfficientZeroNet(
        config.network, run.env_spec, value_prefix=config.agent.value_prefix
    ).eval()
    network.load_state_dict(state["network"])
    search = BatchedSearch(
        network.to(device),
        search=config.search,
        agent=config.agent,
        num_actions=run.env_spec.num_actions,
        batch_size=episodes,
        device=device,
        generator=generator(config.seed, ROLE, 0, 1),
    )
    envs = make_env_batch(
        config.env,
        num_envs=episodes,
        seeds=evaluation_seeds(config, episodes),
        training=False,
        max_episode_steps=config.env.final_eval_max_episode_steps,
    )
    try:
        results = play_episodes(envs, search, stop)
    finally:
        envs.close()
    if results is None:
        return None
    returns = [result.episode_return for result in results]
    return {
        "run_id": run.run_id,
        "group": run.group,
        "seed": config.seed,
        "checkpoint": checkpoints[-1].name,
        "train_step": int(state["train_step"]),
        "return_mean": float(np.mean(returns)),
        "return_std": float(np.std(returns)),
        "returns": returns,
        "lengths": [result.length for result in results],
        "seconds": round(time.monotonic() - started, 1),
    }


def find_runs(options: Options) -> list[RunInfo]:
    """Return the runs that were named, or the newest one of each seed.

    Raises:
        ValueError: a folder that is no run, or a seed without a run that has a checkpoint.
    """
    if options.runs:
        return [RunInfo.load(folder / "config.json") for folder in options.runs]
    if not options.env or not options.seeds:
        raise ValueError("got no run, wanted run folders, or --env and --seeds")
    found: dict[int, tuple[float, RunInfo]] = {}
    for path in options.runs_dir.glob("*/config.json"):
        checkpoints = list_checkpoints(path.parent / "checkpoints")
        try:
            run = RunInfo.load(path)
        except ValueError:  # of another version
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


def main(options: Options) -> int:
    """Evaluate each run and return the exit code."""
    if options.episodes < 1:
        raise ValueError(f"--episodes: got {options.episodes}, wanted at least 1")
    stop = StopSignal()
    install_stop_handlers(stop)
    for run in find_runs(options):
        result = evaluate(run, episodes=options.episodes, stop=stop)
        if result is None:
            return _INTERRUPTED
        write_json(run.directory / "evaluation.json", result)
        value = f"{result['return_mean']:.4g} +- {result['return_std']:.3g}"
        print(
            f"{run.run_id}: train_step {result['train_step']}: return {value} over "
            f"{options.episodes} episodes, {result['seconds']} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Options, prog="python -m actor.evaluate", description=__doc__)))
    except ValueError as error:
        print(f"evaluate: error: {error}", file=sys.stderr)
        sys.exit(2)

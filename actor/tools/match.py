"""Play a run's newest weights against another run's, or against a baseline.

Run as ``python launch.py match RUN RUN`` or ``launch.py match RUN mcts-200``: games of two players,
half of them with the first run moving first. Prints the score, (wins + draws / 2) / games, with its
95 % interval, and the games of each seat. Baselines: random, minimax (small games), mcts-<n>.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from actor.games import greedily
from actor.matches.baselines import make_baseline
from actor.matches.play import (
    Player,
    by_baseline,
    by_network,
    play_match,
    random_openings,
)
from actor.matches.scores import Score
from actor.tools.evaluate import with_simulations
from actor.tools.saved_run import make_saved_planner
from efficientzero.config import mcts_simulations
from efficientzero.envs import UNLIMITED_EVALUATION_STEPS
from efficientzero.envs.games import TurnGame, make_turn_game
from efficientzero.process.options import parse_options
from efficientzero.process.runtime import StopSignal, generator, install_stop_handlers
from efficientzero.runs.run_folder import RunInfo

_PROG = "launch.py match"
_INTERRUPTED = 130
_OPENING_PLIES = 2
_STREAM = 5  # of the evaluator's seeds


@dataclass(frozen=True, kw_only=True)
class Options:
    """Who plays, and how often."""

    players: tyro.conf.Positional[tuple[str, str]]
    """A run folder, and another one or random, minimax or mcts-<n>."""
    games: int = 100
    """Games, side by side; an even number, so that both move first equally often."""
    simulations: int = 0
    """Simulations per search of the runs. 0: as in each run's evaluations."""
    opening_plies: int = -1
    """Random moves with which games begin, each beginning played in both seats. -1: 2 between runs,
    whose games would be all the same, else 0."""
    seed: int = 0
    """Of beginnings and baselines."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of lines."""


def play(options: Options, stop: StopSignal) -> dict[str, Any] | None:
    """Play the match and return what is printed, or None if a stop was requested.

    Raises:
        ValueError: one line: no such run, no checkpoint, or players of different games.
    """
    first, second = options.players
    if options.games < 1 or options.games % 2:
        raise ValueError(f"--games: got {options.games}, wanted an even number from 2")
    run = _run_of(first, options)
    game, env = make_turn_game(run.config.env.id), run.config.env
    chance = generator(options.seed, "evaluator", 0, _STREAM)
    is_baseline = second in {"random", "minimax"} or mcts_simulations(second) > 0
    opponent, step = (
        (by_baseline(make_baseline(second, game, chance.spawn(1)[0])), None)
        if is_baseline
        else _saved(_opponent_run(second, run, options), options.games)
    )
    player, train_step = _saved(run, options.games)
    plies = options.opening_plies
    if plies < 0:
        plies = 0 if is_baseline else _OPENING_PLIES
    match = play_match(
        player,
        opponent,
        game,
        options.games,
        max_moves=env.final_eval_max_episode_steps or game.max_length or UNLIMITED_EVALUATION_STEPS,
        stop=stop,
        openings=_openings(game, plies, options.games // 2, chance),
    )
    if match is None:
        return None
    return {
        "players": [first, second],
        "env_id": run.env_spec.env_id,
        "train_steps": [train_step, step],
        "opening_plies": plies,
        **_counts(match.score()),
        "interval": match.score().interval(),
        "moves_first": _counts(match.score(0)),
        "moves_second": _counts(match.score(1)),
        "length_mean": float(np.mean([result.length for result in match.results])),
    }


def _run_of(folder: str, options: Options) -> RunInfo:
    path = Path(folder) / "config.json"
    if not path.exists():
        raise ValueError(
            f"got {folder!r}, wanted a run's folder"
            " (the second player may be random, minimax or mcts-<n>)"
        )
    run = RunInfo.load(path)
    if run.env_spec.num_players == 1:
        raise ValueError(f"{folder}: got {run.env_spec.env_id}, wanted a game of two players")
    return with_simulations(run, "search", options.simulations) if options.simulations else run


def _opponent_run(folder: str, run: RunInfo, options: Options) -> RunInfo:
    opponent = _run_of(folder, options)
    if opponent.env_spec != run.env_spec:
        now, before = opponent.env_spec.differences(run.env_spec)
        raise ValueError(f"{folder}: got {now}, wanted the first run's {before}")
    return opponent


def _saved(run: RunInfo, num_games: int) -> tuple[Player, int | None]:
    planner, train_step = make_saved_planner(run, "search", math.ceil(num_games / 2))
    return by_network(greedily(planner)), train_step


def _openings(
    game: TurnGame, plies: int, count: int, chance: np.random.Generator
) -> Sequence[Sequence[int]]:
    return random_openings(game, plies, count, chance) if plies else ((),)


def _counts(score: Score) -> dict[str, Any]:
    return {
        "games": score.games,
        "wins": score.wins,
        "draws": score.draws,
        "losses": score.losses,
        "score": score.share,
    }


def lines(result: dict[str, Any]) -> list[str]:
    """Return the result in words."""
    first, second = (
        name if step is None else f"{Path(name).name} (train_step {step})"
        for name, step in zip(result["players"], result["train_steps"], strict=True)
    )
    low, high = result["interval"]
    text = [
        f"{first} against {second}, {result['env_id']}: score {result['score']:.3f} "
        f"[{low:.3f}, {high:.3f}] of {result['games']} games"
    ]
    for title, counts in (
        ("all games", result),
        ("moving first", result["moves_first"]),
        ("moving second", result["moves_second"]),
    ):
        text.append(
            f"  {title:13}  {counts['wins']} won, {counts['draws']} drawn, "
            f"{counts['losses']} lost: {counts['score']:.3f}"
        )
    return text


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    options: Options = parse_options(Options, arguments, prog=_PROG, description=__doc__)
    stop = StopSignal()
    install_stop_handlers(stop)
    try:
        result = play(options, stop)
    except ValueError as error:
        print(f"{_PROG}: error: {error}", file=sys.stderr)
        return 2
    if result is None:
        return _INTERRUPTED
    print(json.dumps(result) if options.json else "\n".join(lines(result)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

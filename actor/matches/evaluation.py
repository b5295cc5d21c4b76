"""Evaluations of games of two players: against each of ``league.baselines``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from actor.games import Chooser
from actor.matches.baselines import make_baseline
from actor.matches.play import MatchResult, by_baseline, by_network, play_match
from efficientzero.config import Config
from efficientzero.envs import UNLIMITED_EVALUATION_STEPS
from efficientzero.envs.games import make_turn_game
from efficientzero.process.runtime import PlainError, StopSignal
from efficientzero.rpc.run_client import BaselineScore


class BaselineRefused(PlainError, ValueError):
    """A baseline that cannot play the run's game."""

    is_permanent = True


class BaselineOpponents:
    """The baselines of a run, for all of its evaluations."""

    def __init__(self, config: Config, generator: np.random.Generator) -> None:
        """Build the baselines; minimax solves the game here.

        Args:
            config: game, baselines and time limits.
            generator: for their draws.

        Raises:
            BaselineRefused: one of them cannot play this game.
        """
        self._env = config.env
        self._game = make_turn_game(config.env.id)
        try:
            self._players = {
                name: by_baseline(make_baseline(name, self._game, generator.spawn(1)[0]))
                for name in config.league.baselines
            }
        except ValueError as error:
            raise BaselineRefused(str(error)) from error

    def play(
        self, choose: Chooser, num_games: int, *, is_final: bool, stop: StopSignal
    ) -> dict[str, MatchResult] | None:
        """Play ``num_games`` games against each baseline, half of them in each seat.

        Args:
            choose: the network's actions.
            num_games: against each.
            is_final: whether the final evaluation's time limit holds.
            stop: ends it early.

        Returns:
            By name, in the order of the config; None if a stop was requested.
        """
        env, game = self._env, self._game
        limit = env.final_eval_max_episode_steps if is_final else env.max_episode_steps
        played = {}
        for name, opponent in self._players.items():
            match = play_match(
                by_network(choose),
                opponent,
                game,
                num_games,
                max_moves=limit or game.max_length or UNLIMITED_EVALUATION_STEPS,
                stop=stop,
            )
            if match is None:
                return None
            played[name] = match
        return played


def score_metrics(played: Mapping[str, MatchResult]) -> dict[str, float]:
    """Return the metrics of an evaluation: the share of points against each baseline."""
    return {f"eval/score_{name.replace('-', '_')}": m.score().share for name, m in played.items()}


def scores_by_seat(played: Mapping[str, MatchResult]) -> list[BaselineScore]:
    """Return the counts of games against each baseline in each seat."""
    return [
        BaselineScore(name, seat, score.wins, score.draws, score.losses)
        for name, match in played.items()
        for seat in (0, 1)
        for score in (match.score(seat),)
    ]

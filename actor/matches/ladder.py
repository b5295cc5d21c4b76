"""The ladder's games: in every evaluation, against some members of the pool.

Used by the evaluator. Reports them to the league, with the evaluation's games against baselines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from actor.games import Chooser, greedily
from actor.matches.league_client import EndedMatch, LeagueClient, Opponent
from actor.matches.play import MatchResult, by_network, play_match, random_openings
from efficientzero.envs import UNLIMITED_EVALUATION_STEPS
from efficientzero.envs.games import make_turn_game
from efficientzero.networks import make_network
from efficientzero.process.runtime import StopSignal
from efficientzero.runs.run_folder import RunInfo
from efficientzero.search import make_planner

_OPENING_PLIES = 2
"""Random moves with which games begin: without exploration they would be all the same."""


class Ladder:
    """Plays the newest weights against members, with a second network."""

    def __init__(
        self,
        run: RunInfo,
        client: LeagueClient,
        *,
        device: torch.device,
        generator: np.random.Generator,
        stop: StopSignal,
    ) -> None:
        """Build the members' network and planner.

        Args:
            run: with a pool.
            client: names members and takes results.
            device: of the network.
            generator: for openings and searches.
            stop: ends the games early.
        """
        config, self._stop, self._client = run.config, stop, client
        self._num_games = config.league.ladder_games
        self._openings_generator, search_generator = generator.spawn(2)
        self._game = make_turn_game(config.env.id)
        self._max_moves = (
            config.env.max_episode_steps or self._game.max_length or UNLIMITED_EVALUATION_STEPS
        )
        self._network = make_network(config, run.env_spec, training=False).to(device).eval()
        self._planner = make_planner(
            config,
            run.env_spec,
            self._network,
            batch_size=max(1, math.ceil(self._num_games / 2)),
            device=device,
            generator=search_generator,
            simulations=config.evaluator_simulations,
        )

    def play(
        self, choose: Chooser, against_baselines: Mapping[str, MatchResult], train_step: int
    ) -> bool:
        """Play the members, and report all games; return False on stop.

        Args:
            choose: the newest weights' actions, without exploration.
            against_baselines: games of this evaluation, by name.
            train_step: of the newest weights.

        Raises:
            LearnerUnavailable: no answer within the client's patience.
            LearnerRefused: the learner refused the games.
        """
        played = {Opponent(0, name, -1): match for name, match in against_baselines.items()}
        others = [m for m in self._client.members() if m.train_step != train_step]
        for member in spread(others) if self._num_games else ():
            weights = self._client.weights(member, self._network.inference_state_dict())
            if weights is None:
                continue
            self._network.load_inference_state_dict(weights)
            match = play_match(
                by_network(choose),
                by_network(greedily(self._planner)),
                self._game,
                self._num_games,
                max_moves=self._max_moves,
                stop=self._stop,
                openings=random_openings(
                    self._game, _OPENING_PLIES, self._num_games // 2, self._openings_generator
                ),
            )
            if match is None:
                return False
            played[member] = match
        return self._client.report(
            [
                EndedMatch(
                    opponent,
                    train_step,
                    seat,
                    result.episode_return,
                    result.length,
                    is_evaluation=True,
                )
                for opponent, match in played.items()
                for result, seat in zip(match.results, match.seats, strict=True)
            ]
        )


def spread(members: list[Opponent]) -> list[Opponent]:
    """Return the oldest, the middle and the newest of ``members``, each once."""
    if not members:
        return []
    last = len(members) - 1
    return [members[i] for i in sorted({0, last // 2, last})]

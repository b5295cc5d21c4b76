"""An actor's games against the pool: past weights of the run, and baselines.

The first environments of an actor are the pool's. In their games the newest weights hold one seat,
alternately the first and the second, and one opponent the other. An actor has one opponent at a
time: after some games of each environment no more begin, environments play themselves until the
last has ended, and the next opponent is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from actor.game_results import GameResult
from actor.matches.baselines import Baseline, make_baseline
from actor.matches.league_client import EndedMatch, Opponent
from actor.matches.self_play import SelfPlay
from actor.turn import PendingStep, Thought
from efficientzero.config import LeagueConfig
from efficientzero.envs.games import TurnGame
from efficientzero.networks import EfficientZeroNet
from efficientzero.schema import Bool, EnvSteps, Observed, Roots, SearchResult
from efficientzero.search import Planner

_GAMES_EACH = 8
"""Games of each environment against one opponent. More: fewer of the pool's games are lost to the
wait for the last one; fewer: opponents follow the results sooner."""
BASELINE_MOVER = 2**24
"""In place of a member's number in replay; members' are smaller."""


class OpponentSource(Protocol):
    """The part of the league's client that an actor uses."""

    def next_opponent(self) -> Opponent | None:
        """Return whom to play next; None: nobody now."""

    def weights(
        self, member: Opponent, expected: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor] | None:
        """Return a member's weights; None: it has gone."""

    def report(self, matches: Sequence[EndedMatch]) -> bool:
        """Report ended games; return False on stop."""


@dataclass(slots=True)
class _Board:
    """One environment of the pool."""

    to_play: int = 0
    moves: int = 0  # of the game
    seat: int = 1  # of the newest weights in the last game against an opponent; 0: they move first
    opponent: Opponent | None = None  # None: the game is self-play
    game: TurnGame | None = None  # the same position, for a baseline


class PoolPlay(SelfPlay):
    """Some environments play against an opponent, all others themselves."""

    def __init__(
        self,
        league: LeagueConfig,
        num_envs: int,
        *,
        client: OpponentSource,
        network: EfficientZeroNet,
        planner: Planner,
        game: TurnGame,
        generator: np.random.Generator,
    ) -> None:
        """Begin without an opponent.

        Args:
            league: how many environments are the pool's; at least one.
            num_envs: E.
            client: names opponents and takes results.
            network: a second one, in eval mode; receives members' weights.
            planner: on that network, for the pool's environments.
            game: the run's, in any position.
            generator: for the draws of baselines.
        """
        self._client, self._network, self._planner = client, network, planner
        self._game, self._generator = game, generator
        self._boards = [_Board() for _ in range(league.num_pool_envs(num_envs))]
        self.players = self._newest_players = np.zeros(num_envs, np.int64)
        self._opponent: Opponent | None = None
        self._num_left = self._num_running = 0  # games against it: to begin, and under way
        self._baselines: dict[str, Baseline] = {}
        self._ended: list[EndedMatch] = []  # not reported
        self._num_moves = self._num_against = 0  # since the last row: all, and against opponents

    def think(
        self, planner: Planner, envs: Sequence[int], roots: Roots, *, is_random: bool
    ) -> Thought:
        """Return what the newest weights find for their moves, and the opponent for its own."""
        movers = np.zeros(len(envs), np.int64)
        if is_random:
            return Thought(result=planner.run(roots, exploration_noise=True), movers=movers)
        self._seat_opponents(envs)
        given = np.full(len(envs), -1, np.int64)
        for row, env in enumerate(envs):
            opponent = self._opponent_to_move(env)
            if opponent is None:
                continue
            movers[row] = opponent.member or BASELINE_MOVER
            if not opponent.member:
                given[row] = self._baseline_move(env, opponent.name)
        # A baseline's position is searched by the newest weights: its value is wanted all the same.
        is_members = (movers > 0) & (given < 0)
        result = _merged(is_members, roots, of_members=self._planner, of_newest=planner)
        rows = np.flatnonzero(given >= 0)
        result.policies[rows] = 0.0
        result.policies[rows, given[rows]] = 1.0
        has_weights = self._opponent is not None and self._opponent.member > 0
        train_step = self._opponent.train_step if self._opponent and has_weights else None
        return Thought(result=result, movers=movers, opponent_train_step=train_step, given=given)

    def begin(self, envs: Sequence[int], observed: Observed) -> None:
        """Begin games; whom they are against is decided with their first move."""
        assert observed.to_play is not None
        for row, env in enumerate(envs):
            if env < len(self._boards):
                board = self._boards[env]
                board.moves, board.to_play = 0, int(observed.to_play[row])

    def moved(self, pending: PendingStep, steps: EnvSteps, ended: Mapping[int, GameResult]) -> None:
        """Follow the moves, and keep the results of games against opponents."""
        assert steps.observed.to_play is not None
        self._num_moves += len(pending.envs)
        for row, env in enumerate(pending.envs):
            if env >= len(self._boards):
                continue
            board = self._boards[env]
            board.moves, board.to_play = board.moves + 1, int(steps.observed.to_play[row])
            self._num_against += board.opponent is not None
            if board.game is not None:
                board.game.play(int(pending.actions[row]))
            if env in ended and board.opponent is not None:
                self._end(env, ended[env], pending.train_step)

    def report(self) -> None:
        """Report ended games, if there are any; on stop they are lost."""
        if self._ended:
            self._client.report(self._ended)
            self._ended = []

    def take_row(self, train_step: int) -> dict[str, float]:
        """Return the share of moves in games against opponents, and the opponent's age."""
        row = {}
        if self._num_moves:
            row["actor/pool_share"] = self._num_against / self._num_moves
        if self._opponent is not None and self._opponent.member:
            age = train_step - self._opponent.train_step
            row["actor/opponent_age_train_steps"] = float(age)
        self._num_moves = self._num_against = 0
        return row

    def _seat_opponents(self, envs: Sequence[int]) -> None:
        """Give games that begin now an opponent, if it is to have more games."""
        for env in envs:
            board = self._boards[env] if env < len(self._boards) else None
            if board is None or board.moves or board.opponent is not None:
                continue
            if not self._num_left and not self._num_running:
                self._ask()
            if self._opponent is None or not self._num_left:
                continue
            self._num_left, self._num_running = self._num_left - 1, self._num_running + 1
            board.opponent, board.seat = self._opponent, 1 - board.seat
            self._newest_players[env] = board.to_play if board.seat == 0 else 1 - board.to_play
            if not self._opponent.member:
                board.game = self._game.copy()
                board.game.reset()

    def _ask(self) -> None:
        """Take the next opponent; without one, or without its weights, games are self-play."""
        opponent = self._client.next_opponent()
        if opponent is not None and opponent.member:
            weights = self._client.weights(opponent, self._network.inference_state_dict())
            if weights is None:
                opponent = None
            else:
                self._network.load_inference_state_dict(weights)
        self._opponent = opponent
        self._num_left = 0 if opponent is None else _GAMES_EACH * len(self._boards)

    def _opponent_to_move(self, env: int) -> Opponent | None:
        if env >= len(self._boards) or self._boards[env].to_play == self._newest_players[env]:
            return None
        return self._boards[env].opponent

    def _baseline_move(self, env: int, name: str) -> int:
        game = self._boards[env].game
        assert game is not None
        if name not in self._baselines:
            first = self._game.copy()
            first.reset()
            self._baselines[name] = make_baseline(name, first, self._generator.spawn(1)[0])
        return self._baselines[name].choose(game)

    def _end(self, env: int, result: GameResult, train_step: int) -> None:
        board = self._boards[env]
        assert board.opponent is not None
        self._ended.append(
            EndedMatch(
                board.opponent,
                train_step,
                board.seat,
                result.episode_return,
                result.length,
                is_evaluation=False,
            )
        )
        board.opponent = board.game = None
        self._newest_players[env] = 0
        self._num_running -= 1


def _merged(
    is_members: Bool, roots: Roots, *, of_members: Planner, of_newest: Planner
) -> SearchResult:
    """Search each root with the planner of whose move it is; results are in the roots' order."""
    if not is_members.any():
        return of_newest.run(roots, exploration_noise=True)
    parts, rows = [], []
    for mask, planner in ((~is_members, of_newest), (is_members, of_members)):
        chosen = np.flatnonzero(mask)
        if len(chosen):
            legal = roots.legal_actions
            part = Roots(roots.observations[chosen], None if legal is None else legal[chosen])
            parts.append(planner.run(part, exploration_noise=True))
            rows.append(chosen)
    order = np.argsort(np.concatenate(rows))
    return SearchResult._make(np.concatenate(column)[order] for column in zip(*parts, strict=True))

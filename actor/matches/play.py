"""Games between two players, side by side: networks, baselines, or one of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from actor.game_results import GameResult
from actor.games import Chooser
from actor.matches.baselines import Baseline
from actor.matches.scores import Score
from efficientzero.envs.games import TurnGame
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Roots

Player = Callable[[Sequence[TurnGame]], list[int]]
"""Positions with its player to move -> one action for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchResult:
    """One player's games against another, seat by seat."""

    results: tuple[GameResult, ...]
    """Returns are what the player earned."""
    seats: tuple[int, ...]
    """0: it moved first."""

    def score(self, seat: int | None = None) -> Score:
        """Return the score of all games, or of those in one seat."""
        scores = [
            Score.of(result.episode_return)
            for result, held in zip(self.results, self.seats, strict=True)
            if seat is None or seat == held
        ]
        return sum(scores, Score())


def by_network(choose: Chooser) -> Player:
    """Return the player of a network's actions; frames are not stacked."""

    def play(games: Sequence[TurnGame]) -> list[int]:
        roots = Roots(
            np.stack([game.observation() for game in games]),
            np.stack([game.legal_actions() for game in games]),
        )
        return [int(action) for action in choose(roots)]

    return play


def by_baseline(baseline: Baseline) -> Player:
    """Return the player of a baseline's actions."""
    return lambda games: [baseline.choose(game) for game in games]


def play_match(
    player: Player,
    opponent: Player,
    game: TurnGame,
    num_games: int,
    *,
    max_moves: int,
    stop: StopSignal,
    openings: Sequence[Sequence[int]] = ((),),
) -> MatchResult | None:
    """Play games side by side, with the player in both seats in turn.

    Args:
        player: whose results these are.
        opponent: the other one.
        game: any position; the games are copies.
        num_games: half of them with the player moving first.
        max_moves: after which a game is over and drawn.
        stop: ends it early.
        openings: moves with which games begin; two games in a row, one in each seat, have the same.

    Returns:
        None if a stop was requested.
    """
    games, first_movers = [], []
    for number in range(num_games):
        one = game.copy()
        one.reset()
        first_movers.append(one.to_play())
        for action in openings[number // 2 % len(openings)]:
            one.play(action)
        games.append(one)
    seats = [number % 2 for number in range(num_games)]
    # The number of the player in the game; player 1 moves first in some games.
    mine = [
        first if seat == 0 else 1 - first for first, seat in zip(first_movers, seats, strict=True)
    ]
    returns, lengths = (
        [0.0] * num_games,
        [len(openings[n // 2 % len(openings)]) for n in range(num_games)],
    )
    while playing := [
        n for n in range(num_games) if not games[n].is_over() and lengths[n] < max_moves
    ]:
        for is_mine, choose in ((True, player), (False, opponent)):
            if stop.is_set():
                return None
            due = [n for n in playing if (games[n].to_play() == mine[n]) == is_mine]
            if not due:
                continue
            for n, action in zip(due, choose([games[n] for n in due]), strict=True):
                reward = games[n].play(action)
                returns[n] += reward if is_mine else -reward
                lengths[n] += 1
            playing = [n for n in playing if n not in due]
    results = tuple(
        GameResult(total, length) for total, length in zip(returns, lengths, strict=True)
    )
    return MatchResult(results=results, seats=tuple(seats))


def random_openings(
    game: TurnGame, plies: int, count: int, generator: np.random.Generator
) -> list[list[int]]:
    """Return ``count`` random beginnings of a game, each of ``plies`` legal moves."""
    openings = []
    for _ in range(count):
        one = game.copy()
        moves: list[int] = []
        one.reset()
        while len(moves) < plies and not one.is_over():
            moves.append(int(generator.choice(np.flatnonzero(one.legal_actions()))))
            one.play(moves[-1])
        openings.append(moves[:-1] if one.is_over() else moves)
    return openings

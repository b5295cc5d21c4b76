"""Every position of a small two-player game, and trees that search with its rules as the model."""

from __future__ import annotations

import numpy as np

from efficientzero.envs.games import TurnGame
from mcts_cpp import SearchParams, TreeBatch

_ILLEGAL = -1e9


class Positions:
    """All positions by number, and where each action leads.

    Below the root a search does not know which moves are legal: those that are not lose at once.
    An end stays one, whatever is played. Position 0 is behind illegal moves, 1 is the first.
    """

    def __init__(self, start: TurnGame) -> None:
        start.reset()
        num_actions = start.num_actions
        self.games: list[TurnGame | None] = [None, start]
        numbers = {_key(start): 1}
        after: list[list[int]] = [[0] * num_actions]
        rewards: list[list[float]] = [[0.0] * num_actions]
        number = 0
        while (number := number + 1) < len(self.games):
            game = self.games[number]
            assert game is not None
            after.append([number * game.is_over()] * num_actions)
            rewards.append([0.0 if game.is_over() else -1.0] * num_actions)
            for action in np.flatnonzero(game.legal_actions()).tolist():
                following = game.copy()
                rewards[-1][action] = following.play(action)
                after[-1][action] = numbers.setdefault(_key(following), len(self.games))
                if after[-1][action] == len(self.games):
                    self.games.append(following)
        self.after = np.array(after)  # [P, A]
        self.rewards = np.array(rewards, np.float32)  # [P, A]
        legal = np.array([game is None or game.legal_actions() for game in self.games[1:]])
        over = ~legal.any(axis=1, keepdims=True)
        logits = np.where(legal | over, 0.0, _ILLEGAL).astype(np.float32)
        self.logits = np.concatenate([np.zeros((1, num_actions), np.float32), logits])


def _key(game: TurnGame) -> tuple[int, bool, bytes]:
    return game.to_play(), game.is_over(), game.observation().tobytes()


def searched_moves(
    positions: Positions, roots: list[int], *, algorithm: str, simulations: int, num_players: int
) -> np.ndarray:
    """Return the best actions of searches with the rules, uniform priors and leaves worth 0."""
    num, (_, width) = len(roots), positions.after.shape
    params = SearchParams(
        discount=1.0, use_value_prefix=False, num_players=num_players, algorithm=algorithm
    )
    trees = TreeBatch(num, width, simulations, params, np.arange(num, dtype=np.uint64))
    zeros, rows = np.zeros(num, np.float32), np.arange(num)
    legal = positions.logits[roots] == 0
    trees.expand_roots(positions.logits[roots], zeros, legal_actions=legal)
    nodes = np.zeros((simulations + 1, num), np.int64)
    nodes[0] = roots
    parents, actions = np.zeros(num, np.int32), np.zeros(num, np.int32)
    resets = np.zeros(num, np.bool_)
    for node in range(1, simulations + 1):
        trees.select_leaves(parents, actions, resets)
        before = nodes[parents, rows]
        nodes[node] = positions.after[before, actions]
        trees.backup(positions.rewards[before, actions], zeros, positions.logits[nodes[node]])
    best = np.zeros(num, np.int32)
    trees.best_actions(best)
    return best

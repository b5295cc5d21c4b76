"""Opponents that need no training: ``random``, ``minimax``, and OpenSpiel's MCTS, ``mcts-<n>``."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from efficientzero.config import mcts_simulations
from efficientzero.envs.games import OpenSpielGame, TurnGame, import_games

MOST_POSITIONS = 100_000
"""Of a game that minimax solves."""
_MCTS_EXPLORATION = 1.4
_MCTS_MEGABYTES = 1_000
_TIE = 1e-9


class Baseline(Protocol):
    """Chooses moves in any position of one kind of game."""

    def choose(self, game: TurnGame) -> int:
        """Return a legal action of the player to move; ``game`` stays as it is."""


class RandomPlayer:
    """Plays any legal move with the same probability."""

    def __init__(self, generator: np.random.Generator) -> None:
        """Keep the generator; one number is drawn for each move."""
        self._generator = generator

    def choose(self, game: TurnGame) -> int:
        """Return a legal action."""
        return int(self._generator.choice(np.flatnonzero(game.legal_actions())))


class MinimaxPlayer:
    """Plays perfectly: any of the moves that are best against a perfect opponent.

    Positions that look the same are worth the same, which holds where a frame is the whole state.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        """Know no position yet; each is solved once."""
        self._generator = generator
        self._values: dict[tuple[int, bytes], float] = {}

    def choose(self, game: TurnGame) -> int:
        """Return one of the best actions; refuses as ``value`` does."""
        values = self.action_values(game)
        best = max(values.values())
        return int(self._generator.choice([a for a, v in values.items() if v >= best - _TIE]))

    def action_values(self, game: TurnGame) -> dict[int, float]:
        """Return what each legal action earns the player to move in the end."""
        values = {}
        for action in np.flatnonzero(game.legal_actions()).tolist():
            after = game.copy()
            reward = after.play(action)
            values[action] = reward - self.value(after)
        return values

    def value(self, game: TurnGame) -> float:
        """Return what the player to move earns from here on, with perfect play of both.

        Raises:
            ValueError: the game has too many positions.
        """
        if game.is_over():
            return 0.0
        key = (game.to_play(), game.observation().tobytes())
        if key not in self._values:
            if len(self._values) >= MOST_POSITIONS:
                raise ValueError(
                    f"league.baselines: got minimax for a game of more than {MOST_POSITIONS:,} "
                    "positions, wanted random, or mcts-<n> for games of OpenSpiel"
                )
            self._values[key] = max(self.action_values(game).values())
        return self._values[key]


class MctsPlayer:
    """OpenSpiel's Monte-Carlo tree search with random games to the end, without a network."""

    def __init__(self, game: OpenSpielGame, simulations: int, seed: int) -> None:
        """Build the bot.

        Args:
            game: any position of it.
            simulations: for each move.
            seed: of its random games.
        """
        pyspiel = import_games("pyspiel")
        evaluator = pyspiel.RandomRolloutEvaluator(1, seed)
        self._bot: Any = pyspiel.MCTSBot(
            game.game,
            evaluator,
            _MCTS_EXPLORATION,
            simulations,
            _MCTS_MEGABYTES,
            True,  # solves positions that it has searched to the end
            seed,
            False,  # prints nothing
        )

    def choose(self, game: TurnGame) -> int:
        """Return the action with most visits."""
        assert isinstance(game, OpenSpielGame)
        return int(self._bot.step(game.state))


def make_baseline(name: str, game: TurnGame, generator: np.random.Generator) -> Baseline:
    """Return the baseline of a name.

    Args:
        name: ``random``, ``minimax`` or ``mcts-<n>``.
        game: the game in its first position.
        generator: for its draws.

    Raises:
        ValueError: minimax for a large game, MCTS for a game that is not OpenSpiel's.
    """
    if name == "random":
        return RandomPlayer(generator)
    if name == "minimax":
        player = MinimaxPlayer(generator)
        player.value(game)  # all of it, or a refusal before the first game
        return player
    if not isinstance(game, OpenSpielGame):
        raise ValueError(
            f"league.baselines: got {name} for a game of PettingZoo, wanted random or minimax: it "
            "is OpenSpiel's search"
        )
    return MctsPlayer(game, mcts_simulations(name), int(generator.integers(2**31)))

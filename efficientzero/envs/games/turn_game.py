"""Two-player games of alternating moves: the protocol of the adapters.

An adapter (``open_spiel_game``, ``pettingzoo_game``) makes one library's games look alike. Both
players' moves are steps of one episode, and everything is in the mover's view: a reward is what the
player who moved earned, and the other player lost. Libraries are imported when a game is built.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Protocol

from efficientzero.schema import Bool, Frames

NUM_PLAYERS = 2


class TurnGame(Protocol):
    """A zero-sum game of two players and perfect information, without chance."""

    frame_shape: tuple[int, ...]  # (C, H, W) or (D,)
    frame_dtype: str  # "uint8" or "float32"
    num_actions: int  # A
    max_length: int  # moves of the longest game; 0: not known

    def reset(self) -> None:
        """Set the game up."""

    def observation(self) -> Frames:
        """Return what the player to move sees, [*frame]."""

    def legal_actions(self) -> Bool:
        """Return which actions the player to move has, [A]; none when the game is over."""

    def to_play(self) -> int:
        """Return whose move it is, 0 or 1; when the game is over, who did not move last."""

    def play(self, action: int) -> float:
        """Make a legal move; return what the player who moved earned by it."""

    def is_over(self) -> bool:
        """Return whether the game has ended."""

    def copy(self) -> TurnGame:
        """Return the same position as a separate game."""


def import_games(module: str) -> ModuleType:
    """Import a library of games.

    Raises:
        ValueError: in one line, what is missing and the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"cannot import {module} ({error}); install it: make setup-games"
        ) from error

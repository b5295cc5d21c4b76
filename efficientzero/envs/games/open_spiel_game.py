"""Games of OpenSpiel: ``OpenSpiel/connect_four``, ``OpenSpiel/hex(board_size=5)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from efficientzero.config import closest
from efficientzero.envs.contract import ContractViolation
from efficientzero.envs.games.turn_game import NUM_PLAYERS, import_games
from efficientzero.schema import Bool, Frames

_WHITE = 255
_IMAGE_RANK = 3


class OpenSpielGame:
    """One game; boards are planes of 0..255, other observations float32 vectors.

    OpenSpiel's boards look alike to both players. So one plane (one entry of a vector) is added,
    which is 255 (1) where player 1 is to move.
    """

    def __init__(self, name: str) -> None:
        """Load the game.

        Args:
            name: OpenSpiel's, with parameters in parentheses.

        Raises:
            ValueError: OpenSpiel or the game is missing, or the game is of another kind.
        """
        self._game = _load(name)
        _check_kind(self._game)
        shape = tuple(self._game.observation_tensor_shape())
        self._shape, self._is_image = shape, len(shape) == _IMAGE_RANK
        if self._is_image:
            self.frame_shape: tuple[int, ...] = (shape[0] + 1, *shape[1:])
        else:
            self.frame_shape = (int(np.prod(shape)) + 1,)
        self.frame_dtype = "uint8" if self._is_image else "float32"
        self.num_actions = int(self._game.num_distinct_actions())
        self.max_length = int(self._game.max_game_length())
        self.reset()

    @property
    def game(self) -> Any:  # noqa: ANN401  pyspiel has no types
        """The ``pyspiel.Game``."""
        return self._game

    @property
    def state(self) -> Any:  # noqa: ANN401  pyspiel has no types
        """The ``pyspiel.State`` of the position."""
        return self._state

    def reset(self) -> None:
        """Set the game up."""
        self._state = self._game.new_initial_state()
        self._to_play: int = self._state.current_player()

    def observation(self) -> Frames:
        """Return what the player to move sees, [*frame]."""
        tensor = np.array(self._state.observation_tensor(self._to_play), np.float32)
        frame = np.empty(self.frame_shape, self.frame_dtype)
        if not self._is_image:
            frame[:-1], frame[-1] = tensor, self._to_play
            return frame
        if tensor.min() < 0 or tensor.max() > 1:
            raise ContractViolation(
                f"observation_tensor: got {tensor.min()} to {tensor.max()}, wanted 0 to 1"
            )
        frame[:-1] = np.rint(tensor * _WHITE).reshape(self._shape)
        frame[-1] = self._to_play * _WHITE
        return frame

    def legal_actions(self) -> Bool:
        """Return which actions the player to move has, [A]."""
        legal = np.zeros(self.num_actions, np.bool_)
        legal[self._state.legal_actions()] = True
        return legal

    def to_play(self) -> int:
        """Return whose move it is, 0 or 1; when the game is over, who did not move last."""
        return self._to_play

    def play(self, action: int) -> float:
        """Make a legal move; return what the player who moved earned by it."""
        mover, state = self._to_play, self._state
        before = state.returns()[mover]
        state.apply_action(action)
        self._to_play = 1 - mover if state.is_terminal() else state.current_player()
        return float(state.returns()[mover] - before)

    def is_over(self) -> bool:
        """Return whether the game has ended."""
        return bool(self._state.is_terminal())

    def copy(self) -> OpenSpielGame:
        """Return the same position as a separate game."""
        twin = object.__new__(OpenSpielGame)
        twin.__dict__.update(self.__dict__)
        twin._state = self._state.clone()
        return twin


def _load(name: str) -> Any:  # noqa: ANN401  pyspiel has no types
    pyspiel = import_games("pyspiel")
    word = name.partition("(")[0]
    known = pyspiel.registered_names()
    if word not in known:
        nearest = ", ".join(f"OpenSpiel/{near}" for near in closest(word, known, count=3))
        raise ValueError(
            f"OpenSpiel has no such game; try {nearest or 'OpenSpiel/tic_tac_toe, connect_four'}"
        )
    try:
        return pyspiel.load_game(name)
    except pyspiel.SpielError as error:
        text = " ".join(str(error).split())
        raise ValueError(f"OpenSpiel cannot load it: {text}") from error


def _check_kind(game: Any) -> None:  # noqa: ANN401  pyspiel has no types
    """Refuse games that self-play cannot learn.

    Raises:
        ValueError: one line.
    """
    kind = game.get_type()
    players = game.num_players()
    if players != NUM_PLAYERS:
        raise ValueError(f"players: got {players}, wanted {NUM_PLAYERS}")
    for name, wanted, reason in (
        ("dynamics", "SEQUENTIAL", "moves must alternate"),
        ("chance_mode", "DETERMINISTIC", "the search has no nodes for dice or cards"),
        ("information", "PERFECT_INFORMATION", "the search sees what both players see"),
        ("utility", "ZERO_SUM", "one player's gain must be the other's loss"),
    ):
        got = getattr(kind, name).name
        if got != wanted:
            raise ValueError(f"{name}: got {got}, wanted {wanted}: {reason}")
    if not kind.provides_observation_tensor:
        raise ValueError("observations: got none as tensor, wanted a game that provides them")

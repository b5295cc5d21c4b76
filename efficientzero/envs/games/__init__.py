"""Games: Catch, and two-player games of other libraries (``turn_game``)."""

from efficientzero.envs.games.open_spiel_game import OpenSpielGame
from efficientzero.envs.games.pettingzoo_game import PettingZooGame
from efficientzero.envs.games.turn_game import NUM_PLAYERS, TurnGame, import_games

__all__ = [
    "NUM_PLAYERS",
    "OpenSpielGame",
    "TurnGame",
    "import_games",
    "is_turn_game",
    "make_turn_game",
]

_OPEN_SPIEL, _PETTINGZOO = "OpenSpiel/", "PettingZoo/"
"""How the ids of these libraries' games begin."""


def is_turn_game(env_id: str) -> bool:
    """Return whether an id names a game of these libraries."""
    return env_id.startswith((_OPEN_SPIEL, _PETTINGZOO))


def make_turn_game(env_id: str) -> TurnGame:
    """Build the game of an id such as ``OpenSpiel/tic_tac_toe``.

    Raises:
        ValueError: in one line, what is missing, or why this game cannot be played.
    """
    if env_id.startswith(_OPEN_SPIEL):
        return OpenSpielGame(env_id.removeprefix(_OPEN_SPIEL))
    return PettingZooGame(env_id.removeprefix(_PETTINGZOO))

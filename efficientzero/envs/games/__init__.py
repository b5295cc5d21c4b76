"""Games: Catch, and two-player games of other libraries (``turn_game``)."""

from efficientzero.config import OPEN_SPIEL, PETTINGZOO
from efficientzero.envs.games.open_spiel_game import OpenSpielGame
from efficientzero.envs.games.pettingzoo_game import PettingZooGame
from efficientzero.envs.games.turn_game import NUM_PLAYERS, TurnGame, import_games

__all__ = [
    "NUM_PLAYERS",
    "OpenSpielGame",
    "TurnGame",
    "import_games",
    "make_turn_game",
]


def make_turn_game(env_id: str) -> TurnGame:
    """Build the game of an id such as ``OpenSpiel/tic_tac_toe``.

    Raises:
        ValueError: in one line, what is missing, or why this game cannot be played.
    """
    if env_id.startswith(OPEN_SPIEL):
        return OpenSpielGame(env_id.removeprefix(OPEN_SPIEL))
    return PettingZooGame(env_id.removeprefix(PETTINGZOO))

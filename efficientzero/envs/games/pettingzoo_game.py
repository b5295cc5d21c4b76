"""Games of PettingZoo: ``PettingZoo/tictactoe_v3``, ``PettingZoo/connect_four_v3``."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from efficientzero.config import closest
from efficientzero.envs.games.turn_game import NUM_PLAYERS, import_games
from efficientzero.schema import Bool, Frames

_WHITE = 255
_PACKAGE = "pettingzoo.classic"
_GAMES = ("tictactoe_v3", "connect_four_v3", "go_v5")
"""Two players, perfect information, alternating moves; PettingZoo itself does not say so."""


class PettingZooGame:
    """One game; the planes of a board are those of the player to move, then the opponent's."""

    def __init__(self, name: str) -> None:
        """Build the game.

        Args:
            name: its module in ``pettingzoo.classic``.

        Raises:
            ValueError: PettingZoo or the game is missing, or the game is of another kind.
        """
        if name not in _GAMES:
            nearest = ", ".join(f"PettingZoo/{near}" for near in closest(name, _GAMES, count=3))
            raise ValueError(
                "not one of PettingZoo's games of two players, perfect information and "
                f"alternating moves; try {nearest or ', '.join(_GAMES)}"
            )
        self._env = import_games(f"{_PACKAGE}.{name}").raw_env()
        self.max_length = 0
        self.reset()
        first = self._env.possible_agents[0]
        height, width, channels = self._env.observation_space(first)["observation"].shape
        self.frame_shape: tuple[int, ...] = (channels, height, width)
        self.frame_dtype = "uint8"
        self.num_actions = int(self._env.action_space(first).n)

    def reset(self) -> None:
        """Set the game up."""
        self._env.reset(seed=0)  # nothing in these games is drawn
        self._players = list(self._env.possible_agents)
        if len(self._players) != NUM_PLAYERS:
            raise ValueError(f"players: got {len(self._players)}, wanted {NUM_PLAYERS}")
        self._to_play = self._players.index(self._env.agent_selection)
        self._is_over = False

    def observation(self) -> Frames:
        """Return what the player to move sees, [*frame]."""
        planes = np.asarray(self._seen()["observation"])
        frame: Frames = (planes != 0).transpose(2, 0, 1).astype(np.uint8) * np.uint8(_WHITE)
        return frame

    def legal_actions(self) -> Bool:
        """Return which actions the player to move has, [A]; none when the game is over."""
        if self._is_over:
            return np.zeros(self.num_actions, np.bool_)
        return np.asarray(self._seen()["action_mask"]).astype(np.bool_)

    def to_play(self) -> int:
        """Return whose move it is, 0 or 1; when the game is over, who did not move last."""
        return self._to_play

    def play(self, action: int) -> float:
        """Make a legal move; return what the player who moved earned by it."""
        mover, env = self._to_play, self._env
        env.step(action)
        self._is_over = any(env.terminations.values()) or any(env.truncations.values())
        selected = self._players.index(env.agent_selection)
        self._to_play = 1 - mover if self._is_over else selected
        return float(env.rewards[self._players[mover]])

    def is_over(self) -> bool:
        """Return whether the game has ended."""
        return self._is_over

    def copy(self) -> PettingZooGame:
        """Return the same position as a separate game."""
        twin = object.__new__(PettingZooGame)
        twin.__dict__.update(self.__dict__)
        twin._env = _copied(self._env)
        return twin

    def _seen(self) -> dict[str, Any]:
        seen: dict[str, Any] = self._env.observe(self._players[self._to_play])
        return seen


def _copied(env: Any) -> Any:  # noqa: ANN401  of any class of PettingZoo
    """Return a copy of the state; PettingZoo's pickling would build the environment again."""
    shared = (env.action_spaces, env.observation_spaces)
    twin = object.__new__(type(env))
    twin.__dict__.update(copy.deepcopy(env.__dict__, {id(one): one for one in shared}))
    return twin

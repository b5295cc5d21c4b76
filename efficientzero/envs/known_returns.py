"""The largest possible return of a game, for the few environments where it is known.

For checks of what other processes report; imports no environment.
"""

from __future__ import annotations

from efficientzero.config import EnvConfig

LARGEST_RETURN = 1e30
"""Of any game. What environments give is far below; sums of larger ones would overflow."""

_OF_A_GAME = {
    "Catch-v0": 1.0,
    "OpenSpiel/tic_tac_toe": 1.0,
    "OpenSpiel/connect_four": 1.0,
    "PettingZoo/tictactoe_v3": 1.0,
    "PettingZoo/connect_four_v3": 1.0,
}
_OF_A_STEP = {"CartPole-v0": 1.0, "CartPole-v1": 1.0, "Acrobot-v1": 1.0, "MountainCar-v0": 1.0}


def largest_return(config: EnvConfig, env_steps: int) -> float:
    """Return the largest absolute score that a game of so many env_steps can have."""
    if config.id in _OF_A_GAME:
        return _OF_A_GAME[config.id]
    if config.id in _OF_A_STEP:
        return _OF_A_STEP[config.id] * config.action_repeat * env_steps
    return LARGEST_RETURN

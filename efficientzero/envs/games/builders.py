"""Builds Catch and the two-player games for the factory."""

from __future__ import annotations

from efficientzero.config import EnvConfig
from efficientzero.envs.batch import SingleEnv
from efficientzero.envs.games import make_turn_game
from efficientzero.envs.games.catch import ROWS, CatchEnv
from efficientzero.envs.games.turn_game_env import TurnGameEnv
from efficientzero.envs.gym import GymEnv


def make_catch(
    config: EnvConfig, *, seed: int, training: bool, max_episode_steps: int
) -> SingleEnv:
    """Build Catch."""
    del training  # it has no lives
    take_no_kwargs(config)
    return GymEnv(
        CatchEnv(),
        seed=seed,
        max_episode_steps=max_episode_steps,
        action_repeat=config.action_repeat,
        own_limit=ROWS - 1,
        reads_masks=False,
    )


def make_two_players(
    config: EnvConfig, *, seed: int, training: bool, max_episode_steps: int
) -> SingleEnv:
    """Build a game of OpenSpiel or PettingZoo."""
    del seed, training  # nothing in them is drawn, and they have no lives
    take_no_kwargs(config)
    return TurnGameEnv(make_turn_game(config.id), max_episode_steps=max_episode_steps)


def take_no_kwargs(config: EnvConfig) -> None:
    """Refuse arguments for an environment that takes none.

    Raises:
        ValueError: one line.
    """
    if config.kwargs:
        raise ValueError(
            f"kwargs: got {', '.join(config.kwargs)}, wanted none: this environment takes no "
            "arguments (Atari games have env.atari)"
        )

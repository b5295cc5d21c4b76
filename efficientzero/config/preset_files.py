"""The presets: files of differences from the defaults, and which one is for which environment."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from efficientzero.config.fields import Config
from efficientzero.config.files import ConfigError, config_from_dict
from efficientzero.config.spelling import nearest

PRESETS = (
    *("atari100k", "muzero", "atari100k-v2", "atari-small", "q-learning", "q-search"),
    *("minatar", "cartpole", "acrobot", "catch", "catch-q", "cartpole-q"),
    *("connectfour", "tictactoe"),
    *("pendulum", "lunarlander-continuous", "control"),
)
"""Names of the presets, the reference first. Each is a TOML file of differences."""

_SAME_GAMES = {
    "PettingZoo/tictactoe_v3": "OpenSpiel/tic_tac_toe",
    "PettingZoo/connect_four_v3": "OpenSpiel/connect_four",
    "PettingZoo/go_v5": "OpenSpiel/go",
}
"""Games of another library that a preset is for as well."""

_CONTROL_TASKS = (
    *("Ant", "BipedalWalker", "BipedalWalkerHardcore", "HalfCheetah", "Hopper", "Humanoid"),
    *("HumanoidStandup", "InvertedDoublePendulum", "InvertedPendulum", "MountainCarContinuous"),
    *("Pusher", "Reacher", "Swimmer", "Walker2d"),
)
"""gymnasium's tasks with continuous actions, without version, that have no preset."""


def load_preset(name: str) -> Config:
    """Return the defaults changed by preset ``name``."""
    if name not in PRESETS:
        raise ConfigError(
            f"preset: got {name!r}, wanted one of {', '.join(PRESETS)}{nearest(name, PRESETS)}"
        )
    return config_from_dict({**_preset_values(name), "preset": name})


def preset_of_env(env_id: str) -> str | None:
    """Return the preset made for an environment, None if there is none.

    A preset for one environment of a namespace (``MinAtar/``) is for all of them that have no own.
    Atari games have several presets.
    """
    env_id = _SAME_GAMES.get(env_id, env_id)
    ids = {name: _preset_values(name).get("env", {}).get("id", "") for name in PRESETS}
    exact = [name for name, own in ids.items() if own == env_id]
    namespace = env_id.rpartition("/")[0]
    alike = [name for name, own in ids.items() if namespace and own.startswith(f"{namespace}/")]
    for_control = ["control"] if env_id.rpartition("-v")[0] in _CONTROL_TASKS else []
    return next(iter(exact + alike + for_control), None)


def _preset_values(name: str) -> dict[str, Any]:
    text = resources.files("efficientzero.config").joinpath(f"presets/{name}.toml").read_text()
    return tomllib.loads(text)

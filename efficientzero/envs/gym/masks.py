"""Where gymnasium environments say which actions are legal. Used by ``env``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium

Info = Mapping[str, Any]
Source = Callable[[gymnasium.Env[Any, Any], Any, Info], Any]
"""(environment, observation, info) -> its mask; None: it has none."""


def _in_info(env: gymnasium.Env[Any, Any], observation: Any, info: Info) -> Any:  # noqa: ANN401
    return info.get("action_mask")


def _in_observation(env: gymnasium.Env[Any, Any], observation: Any, info: Info) -> Any:  # noqa: ANN401
    return observation.get("action_mask") if isinstance(observation, Mapping) else None


def _by_method(env: gymnasium.Env[Any, Any], observation: Any, info: Info) -> Any:  # noqa: ANN401
    method = getattr(env.unwrapped, "action_masks", None)
    return method() if callable(method) else None


SOURCES: tuple[Source, ...] = (_in_info, _in_observation, _by_method)
"""The first one with a mask at the first reset is the environment's for good."""


def find_source(env: gymnasium.Env[Any, Any], observation: Any, info: Info) -> Source | None:  # noqa: ANN401
    """Return where an environment has its mask, after a reset; None: it has none."""
    for source in SOURCES:
        if source(env, observation, info) is not None:
            return source
    return None

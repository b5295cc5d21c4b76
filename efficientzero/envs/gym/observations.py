"""Which observations become frames, and what to do about the others. Used by ``env``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from efficientzero.envs.contract import ContractViolation, describe

SEEN, MASK = "observation", "action_mask"
"""The entries of a Dict observation that has a mask."""


def seen_space(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return the space of what is seen: a Dict's observation where its other entry is a mask."""
    if isinstance(space, spaces.Dict) and set(space.spaces) == {SEEN, MASK}:
        return space.spaces[SEEN]
    return space


def seen(observation: Any) -> Any:  # noqa: ANN401  anything
    """Return the part of a Dict observation that is seen.

    Raises:
        ContractViolation: it has none.
    """
    if not (isinstance(observation, Mapping) and SEEN in observation):
        raise ContractViolation(f"observation: got {describe(observation)}, wanted a dict with it")
    return observation[SEEN]


def frame_layout(space: spaces.Space[Any]) -> tuple[tuple[int, ...], str]:
    """Return shape and dtype of the frames that observations of ``space`` become.

    Box uint8 H x W, H x W x 1 or H x W x 3 are images, and so is a Box bool H x W x C: C planes of
    0 and 255. A Box of rank one is a vector, a Discrete observation a one-hot vector.

    Raises:
        ValueError: in one line, that they are something else and which wrapper helps.
    """
    if isinstance(space, spaces.Discrete):
        return (int(space.n),), "float32"
    if isinstance(space, spaces.Box):
        match space.shape:
            case (size,):
                return (size,), "float32"
            case (height, width) if space.dtype == np.uint8:
                return (1, height, width), "uint8"
            case (height, width, (1 | 3) as channels) if space.dtype == np.uint8:
                return (channels, height, width), "uint8"
            case (height, width, channels) if space.dtype == np.bool_:
                return (channels, height, width), "uint8"
    raise ValueError(f"observations are {_named(space)}; {_advice(space)}")


def _named(space: spaces.Space[Any]) -> str:
    """Return a space in one line that is not too long."""
    words = " ".join(str(space).split())
    return words if len(words) <= _MOST_CHARACTERS else f"{words[:_MOST_CHARACTERS]}..."


_MOST_CHARACTERS = 200


def _advice(space: spaces.Space[Any]) -> str:
    match space:
        case spaces.Box(shape=((1 | 3), _, _)) if space.dtype == np.uint8:
            return (
                "wrap it in gymnasium.wrappers.TransformObservation with numpy.moveaxis(image, 0, "
                "-1): images are H x W x channels"
            )
        case spaces.Box(shape=(_, _, _)):
            return (
                "wrap it in gymnasium.wrappers.FlattenObservation, which makes a vector, or in "
                "TransformObservation, so that it is a uint8 Box of H x W x 1 or H x W x 3 or a "
                "bool Box of H x W x C"
            )
    if space.is_np_flattenable:
        return "wrap it in gymnasium.wrappers.FlattenObservation, which makes a vector"
    return (
        "no wrapper flattens it: write a gymnasium.ObservationWrapper that returns a Box of rank "
        "one, a uint8 Box of H x W, H x W x 1 or H x W x 3, or a bool Box of H x W x C"
    )

"""What an environment must return.

The one check at the boundary: ``gym`` checks what gymnasium environments return against their
declared spaces, ``batch`` checks every environment's step before anything else sees it. Knows no
registry, no actor and no replay.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from efficientzero.schema import Bool, Frames

if TYPE_CHECKING:
    from efficientzero.envs.batch import EnvStep

_LARGEST = float(np.finfo(np.float32).max)
"""Of a reward or an observation: replay and networks hold float32."""
_WHITE = 255
_SLACK = 1e-5
"""Share of a bound by which rounding may leave the declared range."""
STEP_VALUES = ("observation", "reward", "terminated", "truncated", "info")
log = logging.getLogger(__name__)


class ContractViolation(Exception):
    """An environment returned something wrong: the field, what was got and what was wanted."""


class ObservationCheck:
    """Checks observations against the space that an environment declares."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        """Keep what is compared at each step; ``space`` is a Box or Discrete."""
        self.space = space
        self.out_of_range = ""
        """The first value outside a declared range of floats; empty while there is none."""
        self._fitting: np.dtype[Any] | None = None  # the newest dtype that could be converted
        if isinstance(space, spaces.Box):
            self._is_image = len(space.shape) > 1  # rank one is a vector for any dtype
            low, high = space.low.astype(np.float64), space.high.astype(np.float64)
            self._is_whole = self._is_image and low.max() <= 0 and high.min() >= _WHITE
            with np.errstate(invalid="ignore"):  # of infinite bounds; they become the largest
                low, high = low - _SLACK * (1 + np.abs(low)), high + _SLACK * (1 + np.abs(high))
            self._low = low.clip(-_LARGEST, _LARGEST).astype(np.float32)
            self._high = high.clip(-_LARGEST, _LARGEST).astype(np.float32)

    def checked(self, observation: Any) -> Frames:  # noqa: ANN401  anything
        """Return an observation as an array of the declared shape.

        Returns:
            Of an image, of a Discrete space and of one of booleans the array as it is; else
            float32, into which booleans are converted as 0 and 1.

        Raises:
            ContractViolation: another shape, a dtype that cannot be converted safely, a value that
                is not finite, or an integer outside the declared range.
        """
        space = self.space
        array = _array("observation", observation, f"one of {space}")
        if isinstance(space, spaces.Discrete):
            return _index(array, space)
        if array.shape != space.shape or not self._fits(array.dtype):
            raise ContractViolation(
                f"observation: got {describe(array)}, declared {space.dtype} {space.shape}"
            )
        if space.dtype == np.bool_ or self._is_whole:
            return array  # every value is allowed
        values = array
        if not self._is_image and array.dtype != np.float32:
            with np.errstate(over="ignore"):
                values = array.astype(np.float32)
        if not ((self._low <= values) & (values <= self._high)).all():  # nan is in no range
            self._refuse(array, values)
        return values

    def _fits(self, dtype: np.dtype[Any]) -> bool:
        """Return whether a dtype may be converted; images are never converted."""
        if dtype is self._fitting:
            return True
        declared = self.space.dtype
        fits = dtype == declared if self._is_image else np.can_cast(dtype, declared, "same_kind")
        self._fitting = dtype if fits else None
        return fits

    def _refuse(self, array: Frames, values: Frames) -> None:
        """Raise for what no network can take or an image cannot hold; else report it once."""
        assert isinstance(self.space, spaces.Box)
        finite = np.isfinite(values)
        if not finite.all():
            place = tuple(map(int, np.argwhere(~finite)[0]))
            raise ContractViolation(
                f"observation{list(place)}: got {array[place]}, wanted a finite float32"
            )
        outside = (values < self._low) | (values > self._high)
        place = tuple(map(int, np.argwhere(outside)[0]))
        low, high = self.space.low[place], self.space.high[place]
        text = f"observation{list(place)}: got {array[place]}, declared {low} to {high}"
        if self._is_image:
            raise ContractViolation(text)
        if not self.out_of_range:
            # Real tasks leave their declared range now and then; the network takes the value.
            self.out_of_range = text
            log.warning("%s; taken as it is, further ones are not reported", text)


def reset_values(result: Any) -> tuple[Any, Mapping[str, Any]]:  # noqa: ANN401  as returned
    """Return what ``reset`` returned as observation and info.

    Raises:
        ContractViolation: something else was returned.
    """
    if not (isinstance(result, tuple) and len(result) == len(("observation", "info"))):
        raise ContractViolation(f"got {describe(result)}, wanted 2 values: observation and info")
    observation, info = result
    if not isinstance(info, Mapping):
        raise ContractViolation(f"info: got {describe(info)}, wanted a dict")
    return observation, info


def step_values(result: Any) -> tuple[Any, float, bool, bool, Mapping[str, Any]]:  # noqa: ANN401
    """Return what ``step`` returned: observation, reward, terminated, truncated and info.

    Raises:
        ContractViolation: another number of values, or one of a wrong type.
    """
    if not (isinstance(result, tuple) and len(result) == len(STEP_VALUES)):
        raise ContractViolation(
            f"got {describe(result)}, wanted {len(STEP_VALUES)} values: "
            f"{', '.join(STEP_VALUES)} (gymnasium's API, not the old gym's)"
        )
    observation, reward, terminated, truncated, info = result
    if not isinstance(info, Mapping):
        raise ContractViolation(f"info: got {describe(info)}, wanted a dict")
    return (
        observation,
        reward if type(reward) is float else _number(reward),
        _flag("terminated", terminated),
        _flag("truncated", truncated),
        info,
    )


def check_step(step: EnvStep, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Check a step of any environment, already a frame, before it is used.

    Raises:
        ContractViolation: a frame of another shape or dtype, or a reward that is not finite.
    """
    check_frame(step.frame, shape, dtype)
    if not abs(step.reward) <= _LARGEST:  # nan compares false
        raise ContractViolation(f"reward: got {step.reward}, wanted a finite float32")


def check_frame(frame: Frames, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Check shape and dtype of a frame.

    Raises:
        ContractViolation: one of them differs.
    """
    if frame.shape != shape or frame.dtype != dtype:
        raise ContractViolation(f"frame: got {describe(frame)}, wanted {dtype} {shape}")


def checked_mask(mask: Any, num_actions: int, *, has_ended: bool = False) -> Bool:  # noqa: ANN401
    """Return legal actions as an array, bool [A].

    Args:
        mask: what the environment says.
        num_actions: A.
        has_ended: no action follows: none need be legal, and no mask is needed. All are then.

    Raises:
        ContractViolation: no mask, another shape, other values than 0 and 1, or no legal action.
    """
    wanted = f"{num_actions} of 0 and 1, at least one of them 1"
    if mask is None:
        if has_ended:
            return np.ones(num_actions, np.bool_)
        raise ContractViolation(f"legal actions: got none, wanted {wanted}")
    array = _array("legal actions", mask, wanted)
    is_mask = array.shape == (num_actions,) and array.dtype.kind in "iub"
    if not (is_mask and ((array == 0) | (array == 1)).all()):
        raise ContractViolation(f"legal actions: got {describe(mask)}, wanted {wanted}")
    legal = array.astype(np.bool_)
    if not legal.any():
        if not has_ended:
            raise ContractViolation(f"legal actions: got none of {num_actions}, wanted {wanted}")
        legal[:] = True
    return legal


def checked_player(to_play: Any) -> int:  # noqa: ANN401  anything
    """Return whose move it is.

    Raises:
        ContractViolation: neither 0 nor 1.
    """
    if to_play not in (0, 1):
        raise ContractViolation(f"player to move: got {describe(to_play)}, wanted 0 or 1")
    return int(to_play)


def describe(value: Any) -> str:  # noqa: ANN401  anything
    """Name a value by its type and size."""
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    text = repr(value)
    return type(value).__name__ + (f" {text}" if len(text) < 40 else "")  # noqa: PLR2004


def _index(array: Frames, space: spaces.Discrete[Any]) -> Frames:
    if array.shape != () or array.dtype.kind not in "iu":
        raise ContractViolation(f"observation: got {describe(array)}, declared {space}")
    first, last = int(space.start), int(space.start + space.n) - 1
    if not first <= int(array) <= last:
        raise ContractViolation(f"observation: got {int(array)}, declared {first} to {last}")
    return array


def _array(name: str, value: Any, wanted: str) -> Frames:  # noqa: ANN401  anything
    try:
        return np.asarray(value)
    except Exception as error:  # also anything a foreign type's __array__ raises
        got = f"{name}: got {describe(value)}, wanted {wanted}"
        raise ContractViolation(f"{got} ({' '.join(str(error).split())})") from None


def _number(reward: Any) -> float:  # noqa: ANN401  anything
    array = _array("reward", reward, "one number")
    if array.ndim or array.dtype.kind not in "fiub":
        raise ContractViolation(f"reward: got {describe(reward)}, wanted one number")
    return float(array)


def _flag(name: str, value: Any) -> bool:  # noqa: ANN401  anything
    if value is True or value is False:
        return value
    array = _array(name, value, "True or False")
    if array.ndim or array.dtype.kind not in "iub" or int(array) not in (0, 1):
        raise ContractViolation(f"{name}: got {describe(value)}, wanted True or False")
    return bool(array)

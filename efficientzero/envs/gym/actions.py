"""Actions as gymnasium environments take them, numbered 0 .. A - 1.

``MultiDiscrete`` and ``MultiBinary`` become one action for each combination, the last factor the
fastest: index = sum of a_i times the product of n_j, j > i. A ``Box`` has no numbers: its actions
are scaled from -1..1. Used by ``env``.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from efficientzero.schema import F32, I64, Bool

MOST_COMBINATIONS = 1_024
"""Actions that a search tree takes."""


class NumberedActions(Protocol):
    """The actions of one space by their numbers."""

    num_actions: int
    """A."""

    def decode(self, index: Any) -> Any:  # noqa: ANN401  what the environment takes
        """Return action number ``index`` as the environment takes it."""

    def mask(self, given: Any) -> Any:  # noqa: ANN401  what the environment says
        """Return an environment's mask with one flag for each action; unchecked."""


class Single:
    """The actions of a ``Discrete`` space."""

    def __init__(self, space: spaces.Discrete[Any]) -> None:
        """Number them from 0, wherever the space starts."""
        self.num_actions, self._first = int(space.n), int(space.start)

    def decode(self, index: int) -> int:
        """Return action number ``index``."""
        return self._first + index

    def mask(self, given: Any) -> Any:  # noqa: ANN401  what the environment says
        """Return the mask as it is."""
        return given


class Mixed:
    """The combinations of several factors."""

    def __init__(self, nvec: I64, start: I64, shape: tuple[int, ...]) -> None:
        """Number all combinations.

        Args:
            nvec: [m], choices of each factor.
            start: [m], the first choice of each.
            shape: of the environment's actions.

        Raises:
            ValueError: more combinations than a tree takes.
        """
        self.num_actions = int(np.prod(nvec.astype(object)))
        if self.num_actions > MOST_COMBINATIONS:
            raise ValueError(
                f"actions are {self.num_actions} combinations of {nvec.tolist()}, wanted at most "
                f"{MOST_COMBINATIONS}: wrap it in gymnasium.wrappers.TransformAction that takes "
                "fewer"
            )
        self._nvec, self._start, self._shape = nvec, start, shape

    def decode(self, index: int) -> I64:
        """Return combination number ``index``, in the shape of the environment's actions."""
        choices = np.array(np.unravel_index(index, self._nvec), np.int64)
        action: I64 = (choices + self._start).reshape(self._shape)
        return action

    def mask(self, given: Any) -> Any:  # noqa: ANN401  what the environment says
        """Return a mask of all combinations.

        Args:
            given: one flag for each choice of each factor, one factor after another, or as a tuple
                of one array each: the combinations of legal choices are legal. Or a flag for each
                combination, where there are not as many as choices.
        """
        if isinstance(given, tuple | list) and len(given) == len(self._nvec):
            given = np.concatenate([np.atleast_1d(part) for part in given])
        flags = np.asarray(given)
        if flags.shape != (self._nvec.sum(),):
            return given
        factors = np.split(flags != 0, np.cumsum(self._nvec)[:-1])
        mask: Bool = factors[0]
        for factor in factors[1:]:
            mask = (mask[:, None] & factor).reshape(-1)
        return mask


class Scaled:
    """The actions of a ``Box`` of floats; numbers in -1..1 stand for them."""

    num_actions = 0

    def __init__(self, space: spaces.Box) -> None:
        """Keep the bounds; a Box of any rank, which is flattened.

        Raises:
            ValueError: its numbers are no floats, or its bounds are not finite.
        """
        if space.dtype.kind != "f":
            raise ValueError(f"actions are {space}; wrap it so that they are a Box of floats")
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise ValueError(
                f"actions are {space}, whose bounds are not finite; declare finite ones, with "
                "gymnasium.wrappers.TransformAction for example"
            )
        self.size = int(np.prod(space.shape))
        """X."""
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        self._dtype = space.dtype

    def decode(self, index: F32) -> NDArray[Any]:
        """Return low + (a + 1) (high - low) / 2 of numbers f32 [X], in the Box's shape."""
        shares = (index.astype(np.float64).reshape(self._low.shape) + 1.0) / 2.0
        scaled = self._low + shares * (self._high - self._low)
        return np.clip(scaled, self._low, self._high).astype(self._dtype)

    def mask(self, given: Any) -> Any:  # noqa: ANN401  what the environment says
        """Return the mask as it is; there is none."""
        return given


def numbered(space: spaces.Space[Any]) -> NumberedActions:
    """Return the actions of a space by number.

    Raises:
        ValueError: in one line, that the space is not supported and what to do.
    """
    match space:
        case spaces.Discrete():
            return Single(space)
        case spaces.MultiDiscrete():
            nvec = space.nvec.reshape(-1).astype(np.int64)
            return Mixed(nvec, space.start.reshape(-1).astype(np.int64), space.nvec.shape)
        case spaces.MultiBinary():
            num = int(np.prod(space.shape))
            twos, zeros = np.full(num, 2, np.int64), np.zeros(num, np.int64)
            return Mixed(twos, zeros, space.shape)
        case spaces.Box():
            return Scaled(space)
    raise ValueError(
        f"actions are {space}; wrap it in gymnasium.wrappers.TransformAction whose actions are "
        "Discrete, MultiDiscrete, MultiBinary or a Box of floats"
    )

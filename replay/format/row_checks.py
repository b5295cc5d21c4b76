"""What a stored row may hold: the range of each of its numbers.

Called by ``slice_codec`` for the rows of every item that is decoded, before a number is cast: what
is too large for an integer would wrap around. Two comparisons find NaN, infinities and what is out
of range at once.
"""

from __future__ import annotations

import numpy as np

from efficientzero.schema import F32, Ending

_NAMES = ("action", "reward", "root value", "ending", "weights_version", "position", "env_step")
_LARGEST = 1e30  # a sum of hundreds of them is still finite in float32
_MAX_EXACT_INTEGER = 2**24
_MAX_ENV_STEP = 2.0**40  # float32 holds it, and int64 a sum of many
_ROUNDING = 1e-3  # of a policy's float32


class RowChecks:
    """Checks rows of ``slice_codec``'s layout."""

    def __init__(self, num_actions: int) -> None:
        """Fix the ranges."""
        low = [0, -_LARGEST, -_LARGEST, min(Ending), 0, 0, 0, *[0.0] * num_actions]
        high = [
            *(num_actions - 1, _LARGEST, _LARGEST, max(Ending), _MAX_EXACT_INTEGER),
            *(_MAX_EXACT_INTEGER, _MAX_ENV_STEP, *[1.0 + _ROUNDING] * num_actions),
        ]
        self._low, self._high = np.array(low, np.float32), np.array(high, np.float32)

    def check(self, rows: F32) -> None:
        """Check rows [N, 7 + A].

        Raises:
            ValueError: a number is not finite or out of range.
        """
        good = (rows >= self._low) & (rows <= self._high)
        if good.all():
            return
        row, column = np.argwhere(~good)[0]
        name = _NAMES[column] if column < len(_NAMES) else "search policy"
        raise ValueError(
            f"{name} near env_step {rows[row, 6]:.0f}: got {rows[row, column]:.6g}, wanted "
            f"{self._low[column]:.6g} to {self._high[column]:.6g}"
        )

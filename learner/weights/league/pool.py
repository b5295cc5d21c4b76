"""Which member of the pool goes when it is full."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

_FEWEST = 3
"""Of fewer there is none between the first and the newest."""


def member_to_evict(train_steps: Sequence[int]) -> int:
    """Return the index of the member that is missed least: its two neighbours are closest.

    The first and the newest stay. Of several the oldest goes, so that the pool is densest among
    the newest.

    Args:
        train_steps: of the members' weights, ascending, at least three.

    Returns:
        1 to len(train_steps) - 2.

    Raises:
        ValueError: fewer than three, or not ascending.
    """
    is_ascending = all(a < b for a, b in itertools.pairwise(train_steps))
    if len(train_steps) < _FEWEST or not is_ascending:
        raise ValueError(f"members: got {list(train_steps)}, wanted three or more, ascending")
    inner = range(1, len(train_steps) - 1)
    return min(inner, key=lambda i: train_steps[i + 1] - train_steps[i - 1])

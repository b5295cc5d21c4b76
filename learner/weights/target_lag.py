"""Target weights that are published some intervals late, as the reference does.

Held by ``publishing``. Without a lag nothing is kept or copied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class TargetWeights(NamedTuple):
    """Weights to publish."""

    state: Mapping[str, Tensor]
    train_step: int  # of the weights


class TargetLag:
    """The target weights of the last few intervals."""

    def __init__(self, num_intervals: int) -> None:
        """Delay target weights by ``num_intervals``; 0: no delay."""
        self._num_intervals = num_intervals
        self._waiting: deque[TargetWeights] = deque()

    def state_dict(self) -> list[tuple[dict[str, Tensor], int]]:
        """Return what a checkpoint must keep: the weights that wait, and their train_steps."""
        return [(dict(weights.state), weights.train_step) for weights in self._waiting]

    def load_state_dict(self, state: list[tuple[dict[str, Tensor], int]]) -> None:
        """Go on with the weights that waited."""
        self._waiting = deque(TargetWeights(*weights) for weights in state)

    def exchange(self, state: Mapping[str, Tensor], train_step: int) -> TargetWeights | None:
        """Take this interval's weights; return those due, or None while none are old enough.

        The weights of train_step 0 are published by the learner itself and are due until then.
        """
        if not self._num_intervals:
            return TargetWeights(state, train_step)
        copied = {name: tensor.detach().clone() for name, tensor in state.items()}
        self._waiting.append(TargetWeights(copied, train_step))
        return self._waiting.popleft() if len(self._waiting) > self._num_intervals else None

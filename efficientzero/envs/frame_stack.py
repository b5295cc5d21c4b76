"""Observations from frames: the last S of them along the channel axis, oldest first.

``FrameStack`` serves the actor and the evaluator, one row per environment. The reanalyzer and the
learner cut the same observations out of replayed windows (``slices.stack_window``). No game here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efficientzero.schema import EnvSpec, Frames, Observed


class FrameStack:
    """The newest S frames of E environments in one preallocated array."""

    def __init__(self, spec: EnvSpec, num_envs: int) -> None:
        self._spec = spec
        shape = (num_envs, spec.num_stacked_frames, *spec.frame_shape)
        self._frames = np.zeros(shape, spec.frame_dtype)  # [E, S, *frame]
        self._observations = self._frames.reshape(num_envs, *spec.observation_shape)

    def reset(self, indices: Sequence[int], observed: Observed) -> None:
        """Fill all S slots of these G environments with what they show first in an episode."""
        rows = self._rows(indices, observed)
        self._frames[rows] = observed.frames[:, None]

    def push(self, indices: Sequence[int], observed: Observed) -> None:
        """Drop the oldest frame of these G environments and append what they show now."""
        rows = self._rows(indices, observed)
        self._frames[rows, :-1] = self._frames[rows, 1:]
        self._frames[rows, -1] = observed.frames

    def observations(self) -> Frames:
        """Return [E, S*C, H, W] or [E, S*D]: a view that the next push changes."""
        return self._observations

    def _rows(self, indices: Sequence[int], observed: Observed) -> NDArray[np.intp]:
        shape = (len(indices), *self._spec.frame_shape)
        if observed.frames.shape != shape:
            raise ValueError(f"frames: got shape {observed.frames.shape}, wanted {shape}")
        return np.array(indices, np.intp)

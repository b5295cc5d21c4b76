"""Observations from frames: the last S of them along the channel axis, oldest first.

``FrameStack`` serves the actor and the evaluator, one row per environment. The reanalyzer and the
learner cut the same observations out of replayed windows (``slices.stack_window``). No game here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from efficientzero.schema import EnvSpec, Frames


class FrameStack:
    """The newest S frames of E environments in one preallocated array."""

    def __init__(self, spec: EnvSpec, num_envs: int) -> None:
        self._spec = spec
        shape = (num_envs, spec.num_stacked_frames, *spec.frame_shape)
        self._frames = np.zeros(shape, spec.frame_dtype)  # [E, S, *frame]
        self._observations = self._frames.reshape(num_envs, *spec.observation_shape)

    def reset(self, indices: int | Sequence[int], frames: Frames) -> None:
        """Fill all S slots of these environments with their episode's first frame.

        Args:
            indices: one environment with one frame [*frame], or several with [G, *frame].
            frames: the first frames.
        """
        rows, new = self._rows(indices, frames)
        self._frames[rows] = new[:, None]

    def push(self, indices: int | Sequence[int], frames: Frames) -> None:
        """Drop the oldest frame of these environments and append a new one; as ``reset``."""
        rows, new = self._rows(indices, frames)
        self._frames[rows, :-1] = self._frames[rows, 1:]
        self._frames[rows, -1] = new

    def observations(self) -> Frames:
        """Return [E, S*C, H, W] or [E, S*D]: a view that the next push changes."""
        return self._observations

    def _rows(
        self, indices: int | Sequence[int], frames: Frames
    ) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], Frames]:
        rows = np.array([indices] if isinstance(indices, int) else indices, np.intp)
        shape = (len(rows), *self._spec.frame_shape)
        expected = shape[1:] if isinstance(indices, int) else shape
        if frames.shape != expected:
            raise ValueError(f"frames: got shape {frames.shape}, wanted {expected}")
        return rows, frames.reshape(shape)

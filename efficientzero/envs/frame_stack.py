"""Observations from frames: the last S of them along the channel axis, oldest first.

``FrameStack`` serves the actor and the evaluator, one row per environment. The reanalyzer and the
learner cut the same observations out of replayed windows (``replay.format.stack_window``). No game
here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efficientzero.schema import Bool, EnvSpec, Frames, Observed, Roots


class FrameStack:
    """The newest S frames of E environments in one preallocated array."""

    def __init__(self, spec: EnvSpec, num_envs: int) -> None:
        self._spec = spec
        shape = (num_envs, spec.num_stacked_frames, *spec.frame_shape)
        self._frames = np.zeros(shape, spec.frame_dtype)  # [E, S, *frame]
        self._observations = self._frames.reshape(num_envs, *spec.observation_shape)
        self._legal_actions: Bool | None = None  # [E, A]; None: no environment excludes any

    def reset(self, indices: Sequence[int], observed: Observed) -> None:
        """Fill all S slots of these G environments with what they show first in an episode."""
        rows = self._taken(indices, observed)
        self._frames[rows] = observed.frames[:, None]

    def push(self, indices: Sequence[int], observed: Observed) -> None:
        """Drop the oldest frame of these G environments and append what they show now."""
        rows = self._taken(indices, observed)
        self._frames[rows, :-1] = self._frames[rows, 1:]
        self._frames[rows, -1] = observed.frames

    def observations(self) -> Frames:
        """Return [E, S*C, H, W] or [E, S*D]: a view that the next push changes."""
        return self._observations

    def roots(self, indices: Sequence[int]) -> Roots:
        """Return what a planner needs of these environments: copies."""
        rows, legal = list(indices), self._legal_actions
        return Roots(self._observations[rows], None if legal is None else legal[rows])

    def _taken(self, indices: Sequence[int], observed: Observed) -> NDArray[np.intp]:
        shape = (len(indices), *self._spec.frame_shape)
        if observed.frames.shape != shape:
            raise ValueError(f"frames: got shape {observed.frames.shape}, wanted {shape}")
        rows = np.array(indices, np.intp)
        if observed.legal_actions is not None:
            if self._legal_actions is None:
                every = (len(self._frames), self._spec.num_actions)
                self._legal_actions = np.ones(every, np.bool_)
            self._legal_actions[rows] = observed.legal_actions
        return rows

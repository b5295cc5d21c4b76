"""Observations of slices, and what the target network says of them, a part at a time.

A cell is a slice and an offset: one of the [B, K + n + 1] observations of a batch of slices. Used
by the target maker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from efficientzero.schema import F32, Bool, Frames, SliceBatch, stack_window
from efficientzero.search import Planner


class CellValues:
    """The network's values of cells, each from one inference."""

    def __init__(self, search: Planner, *, num_stacked_frames: int, batch_size: int) -> None:
        """Store the parts.

        Args:
            search: with the target weights.
            num_stacked_frames: S.
            batch_size: observations at once.
        """
        self._search = search
        self._num_stacked, self._batch_size = num_stacked_frames, batch_size

    def state_values(self, frames: Frames, cells: Bool) -> F32:
        """Return the values of ``cells``, row by row, f32 [N]."""
        return self._of(self._search.network_values, frames, cells, ())

    def best_action_values(self, frames: Frames, cells: Bool) -> F32:
        """Return the largest Q(s, a) of each of ``cells``, f32 [N]."""
        values: F32 = self._of(self._search.network_action_values, frames, cells, (1,)).max(axis=1)
        return values

    def horizon_values(self, frames: Frames, cells: Bool, num_horizons: int) -> F32:
        """Return the values of all horizons in the same order, f32 [num_horizons, N]."""
        values: F32 = self._of(self._search.horizon_values, frames, cells, (num_horizons,)).T
        return values

    def taken_action_values(self, slices: SliceBatch) -> F32:
        """Return Q(o[t], a[t]), f32 [B]."""
        cells = np.zeros(slices.root_values.shape, np.bool_)
        cells[:, 0] = True
        values = self._of(self._search.network_action_values, slices.frames, cells, (0,))
        taken: F32 = np.take_along_axis(values, slices.actions[:, :1], 1)[:, 0]
        return taken

    def _of(
        self, answer: Callable[[Frames], F32], frames: Frames, cells: Bool, shape: tuple[int, ...]
    ) -> F32:
        """Return the answers of all parts; of no cell, an empty array of this ``shape``."""
        parts = [
            answer(part)
            for part in observations(frames, cells, self._batch_size, self._num_stacked)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, *shape), np.float32)


def observations(
    frames: Frames, cells: Bool, size: int, num_stacked_frames: int
) -> Iterator[Frames]:
    """Yield the observations of ``cells`` [B, K + n + 1], row by row.

    In parts of at most ``size``, each stacked on demand: all policy roots of 256 slices of
    96x96 RGB frames would take 170 MB.
    """
    rows, offsets = np.nonzero(cells)
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        windows = offsets[part, None] + np.arange(num_stacked_frames)  # [N, S]
        yield stack_window(frames[rows[part, None], windows], 0, num_stacked_frames)

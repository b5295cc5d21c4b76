"""What the network says that cells of a [B, K + n + 1] grid are worth: values without a search.

Used by the target maker, for bootstraps and for the errors that become priorities.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from efficientzero.config import Config
from efficientzero.metrics import SectionTimer
from efficientzero.schema import F32, Bool, Frames, SliceBatch
from efficientzero.search import Planner
from reanalyzer.root_batch import observations_of, value_batch_size


class NetworkValues:
    """Values of the planner's network, many observations at once."""

    def __init__(self, config: Config, planner: Planner, timer: SectionTimer) -> None:
        """Keep the parts; ``timer`` records the section ``values``."""
        self._planner, self._timer = planner, timer
        self._bootstrap = config.reanalyzer.value_bootstrap
        self._num_auxiliary = len(config.agent.auxiliary_discounts)
        self._num_stacked_frames = config.env.num_stacked_frames
        self._batch_size = value_batch_size(config, planner.batch_size)

    def estimates(self, frames: Frames, cells: Bool) -> F32:
        """Return what the network says of ``cells`` [B, K + n + 1], f32 [1 + H, B, K + n + 1].

        Of the value head, then of each auxiliary horizon; 0 elsewhere, and where only searches
        bootstrap.
        """
        num_auxiliary = self._num_auxiliary
        estimates = np.zeros((1 + num_auxiliary, *cells.shape), np.float32)
        if num_auxiliary:
            with self._timer.section("values"):
                parts = self._observations(frames, cells)
                values = [self._planner.horizon_values(part) for part in parts]
                if values:
                    estimates[:, cells] = np.concatenate(values).T
        bootstrap = self._bootstrap
        if bootstrap == "max_action_value" or (bootstrap == "network" and not num_auxiliary):
            with self._timer.section("values"):
                estimates[0, cells] = self._bootstraps(frames, cells)
        return estimates

    def values(self, frames: Frames, cells: Bool) -> F32:
        """Return the value head's values of ``cells`` [B, K + n + 1], f32 [N]."""
        parts = [self._planner.network_values(part) for part in self._observations(frames, cells)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _bootstraps(self, frames: Frames, cells: Bool) -> F32:
        """Return what the network says that ``cells`` [B, K + n + 1] are worth."""
        if self._bootstrap == "network":
            return self.values(frames, cells)
        parts = [
            self._planner.network_action_values(part).max(axis=1)
            for part in self._observations(frames, cells)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def taken_action_values(self, slices: SliceBatch) -> F32:
        """Return Q(o[t], a[t]), f32 [B]."""
        cells = np.zeros(slices.root_values.shape, np.bool_)
        cells[:, 0] = True
        parts = self._observations(slices.frames, cells)
        values = np.concatenate([self._planner.network_action_values(part) for part in parts])
        taken: F32 = np.take_along_axis(values, slices.actions[:, :1], 1)[:, 0]
        return taken

    def _observations(self, frames: Frames, cells: Bool) -> Iterator[Frames]:
        return observations_of(frames, cells, self._batch_size, self._num_stacked_frames)

"""Observations of slices, and what the target network says of them, a part at a time.

A cell is a slice and an offset: one of the [B, K + n + 1] observations of a batch of slices. Used
by the target maker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from efficientzero.config import Config
from efficientzero.metrics import SectionTimer
from efficientzero.schema import F32, Bool, Frames, SliceBatch
from efficientzero.search import Planner, best_legal, over_legal
from reanalyzer.root_batch import value_batch_size
from reanalyzer.targets.value_target import Needs
from replay.format import stack_window


class CellValues:
    """The network's values of cells, each from one inference."""

    def __init__(self, config: Config, search: Planner, timer: SectionTimer) -> None:
        """Store the parts.

        Args:
            config: the run's config.
            search: with the target weights.
            timer: records the section ``values``.
        """
        self._config, self._search, self._timer = config, search, timer
        self._num_stacked = config.env.num_stacked_frames
        self._batch_size = value_batch_size(config, search.batch_size)

    def estimates(self, slices: SliceBatch, needs: Needs) -> tuple[F32, F32 | None]:
        """Return the network's values, f32 [1 + H, B, K + n + 1], and its policies where needed.

        Of the value head, then of each auxiliary horizon; 0 elsewhere, and where only searches
        bootstrap. Policies are f32 [B, K + n + 1, W].
        """
        cells, heads = needs.values, None
        num_horizons = 1 + len(self._config.agent.auxiliary_discounts)
        estimates = np.zeros((num_horizons, *cells.shape), np.float32)
        if num_horizons > 1:
            with self._timer.section("values"):
                estimates[:, cells] = self.horizon_values(slices.frames, cells, num_horizons)
        if needs.policies is not None:
            width, cells = slices.search_policies.shape[2], cells | needs.policies
            heads = np.zeros((*cells.shape, width), np.float32)
            with self._timer.section("values"):
                estimates[0, cells], heads[cells] = self.values_and_policies(
                    slices.frames, cells, width
                )
            if slices.legal_actions.size:
                heads = over_legal(heads, slices.legal_actions)
        has_values = num_horizons > 1 or needs.policies is not None
        bootstrap = self._config.reanalyzer.value_bootstrap
        if bootstrap == "max_action_value" or (bootstrap == "network" and not has_values):
            with self._timer.section("values"):
                of_network = self.state_values
                if bootstrap == "max_action_value":
                    of_network = self.best_action_values
                estimates[0, cells] = of_network(slices, cells)
        return estimates, heads

    def state_values(self, slices: SliceBatch, cells: Bool) -> F32:
        """Return the values of ``cells``, row by row, f32 [N]."""
        if slices.legal_actions.size and self._config.agent.value_function == "action":
            return self.best_action_values(slices, cells)
        return self._of(self._search.network_values, slices.frames, cells, ())

    def values_and_policies(self, frames: Frames, cells: Bool, num_actions: int) -> tuple[F32, F32]:
        """Return the values of ``cells``, f32 [N], and the policy head's answers, f32 [N, W]."""

        def joined(part: Frames) -> F32:
            values, policies = self._search.values_and_policies(part)
            return np.concatenate([values[:, None], policies], axis=1)

        answers = self._of(joined, frames, cells, (1 + num_actions,))
        return answers[:, 0], answers[:, 1:]

    def action_values(self, slices: SliceBatch, cells: Bool | None) -> F32 | None:
        """Return Q(s, a) of every action, f32 [B, K + n + 1, W], 0 outside of ``cells``."""
        if cells is None:
            return None
        values = np.zeros((*cells.shape, slices.search_policies.shape[2]), np.float32)
        with self._timer.section("values"):
            values[cells] = self._of(
                self._search.network_action_values, slices.frames, cells, values.shape[2:]
            )
        return values

    def best_action_values(self, slices: SliceBatch, cells: Bool) -> F32:
        """Return the largest Q(s, a) of a legal action of each of ``cells``, f32 [N]."""
        legal = slices.legal_actions[cells] if slices.legal_actions.size else None
        width = slices.search_policies.shape[2:]
        values = self._of(self._search.network_action_values, slices.frames, cells, width)
        return best_legal(values, legal)

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

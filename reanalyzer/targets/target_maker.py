"""From sampled slices to a training batch: which values and searches it needs, and the targets.

Called by the reanalyzer's loop, which sees to the weights. A root is a cell of a [B, K + n + 1]
grid: slice and offset. What is needed at a cell, as value or as policy, is computed there once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from efficientzero.config import Config, age_per_td_step, num_fresh_policies, num_refreshed
from efficientzero.metrics import SearchRates, SectionTimer
from efficientzero.schema import (
    F32,
    F64,
    I32,
    I64,
    Bool,
    Frames,
    SearchResult,
    SliceBatch,
    TrainingBatch,
    stack_window,
)
from efficientzero.search import BatchedSearch
from reanalyzer.root_batch import value_batch_size
from reanalyzer.targets.diagnostics import (
    BatchDiagnostics,
    Newest,
)
from reanalyzer.targets.value_targets import (
    action_mask,
    bootstrap_offsets,
    corrected_td_steps,
    policy_mask,
    search_value_mask,
    slice_ends,
    takes_search_values,
    value_prefix_targets,
    value_targets,
)

NO_STEP = -1
"""In place of an env_step whose priority would be refreshed."""


class _Found(NamedTuple):
    """What network and searches made of a batch's observations."""

    values: F32
    """[B, K + n + 1] to bootstrap from, zero where none is needed."""
    root_values: F32
    """[B, K + 1] of the searches, NaN where there was none."""
    policies: F32
    """[B, K + 1, A], searched again for the configured share."""


class TargetMaker:
    """Makes training batches with one network; not thread-safe."""

    def __init__(
        self,
        config: Config,
        *,
        search: BatchedSearch,
        generator: np.random.Generator,
        timer: SectionTimer,
    ) -> None:
        """Keep the parts.

        Args:
            config: the run's config.
            search: on the network with the target weights; larger batches of roots are cut to
                its size.
            generator: for actions past the end and the choice of reanalysed slices.
            timer: gets the sections ``values`` and ``search``.
        """
        self._config, self._search = config, search
        self._generator, self._timer = generator, timer
        self._value_batch_size = value_batch_size(config, search.batch_size)
        self._newest = Newest()
        self.diagnostics = BatchDiagnostics()
        """Of the batches made."""
        self.search_rates = SearchRates(
            "reanalyzer", num_simulations=search.num_simulations, batch_size=search.batch_size
        )
        """Of their searches."""

    def make_batch(self, slices: SliceBatch, target_train_step: int) -> TrainingBatch:
        """Return the training batch of ``slices`` under the network's weights.

        Args:
            slices: B of them.
            target_train_step: of those weights.
        """
        config, agent = self._config, self._config.agent
        steps = agent.num_unroll_steps
        self._newest.update(slices, target_train_step)
        ends = slice_ends(slices, block_length=config.compat.block_length)
        takes_search = takes_search_values(
            config.reanalyzer,
            env_step_ages=self._newest.env_step - slices.env_steps,
            target_train_step=target_train_step,
        )
        by_search = search_value_mask(ends, steps) & takes_search[:, None]
        td_steps = self._horizons(slices, target_train_step)
        offsets, bootstraps = bootstrap_offsets(ends, td_steps, steps)
        bootstraps &= ~takes_search[:, None]
        found = self._values_and_policies(
            slices,
            _cells(offsets, bootstraps, steps + agent.td_steps + 1),
            by_search,
            policy_mask(ends, steps),
        )
        td_values = value_targets(
            slices,
            ends,
            bootstrap_values=np.take_along_axis(found.values, offsets, 1),
            bootstraps=bootstraps,
            td_steps=td_steps,
            discount=agent.discount,
        )
        values = np.where(
            takes_search[:, None], np.where(by_search, found.root_values, 0.0), td_values
        ).astype(np.float32)
        policies, mask = found.policies, action_mask(ends, steps)
        random_actions = self._generator.integers(0, policies.shape[2], size=mask.shape)
        self.diagnostics.add_batch(
            slices,
            self._newest,
            target_train_step=target_train_step,
            td_steps=np.where(takes_search, 0, td_steps),
            action_mask=mask,
            bootstraps=bootstraps | by_search,
        )
        self.diagnostics.add_value_targets(
            takes_search, (found.root_values - td_values)[~takes_search]
        )
        return TrainingBatch(
            frames=slices.frames[:, : config.env.num_stacked_frames + steps],
            actions=np.where(mask, slices.actions, random_actions).astype(np.int64),
            value_prefixes=value_prefix_targets(
                slices.rewards,
                num_unroll_steps=steps,
                horizon=agent.value_prefix_horizon if agent.value_prefix else 1,
            ),
            values=values,
            policies=policies,
            action_mask=mask,
            keys=slices.keys,
            probabilities=slices.probabilities,
            table_sizes=slices.table_sizes,
            weights_versions=slices.weights_versions,
            target_weights_versions=np.full(len(mask), target_train_step, np.int64),
            env_steps=slices.env_steps,
            refreshed_steps=np.full(num_refreshed(config), NO_STEP, np.int64),
            refreshed_priorities=np.zeros(num_refreshed(config), np.float64),
        )

    def value_errors(self, slices: SliceBatch, target_train_step: int) -> F64:
        """Return |V(o[t]) - z[0]| of any number of slices under the network's weights, f64 [B].

        The priority of PER (section 3.3): what the learner would find, had it these weights. The
        bootstrap is the network's value even where training targets take a search's, and the
        error is of the n-step return even where the value target is a search's.
        """
        agent = self._config.agent
        ends = slice_ends(slices, block_length=self._config.compat.block_length)
        td_steps = self._td_steps(slices, target_train_step)
        offsets, bootstraps = bootstrap_offsets(ends, td_steps, 0)
        cells = _cells(offsets, bootstraps, agent.num_unroll_steps + agent.td_steps + 1)
        cells[:, 0] = True
        values = np.zeros(cells.shape, np.float32)
        values[cells] = self._network_values(slices.frames, cells)
        targets = value_targets(
            slices,
            ends,
            bootstrap_values=np.take_along_axis(values, offsets, 1),
            bootstraps=bootstraps,
            td_steps=td_steps,
            discount=agent.discount,
        )
        errors: F64 = np.abs(values[:, 0] - targets[:, 0]).astype(np.float64)
        return errors

    def _horizons(self, slices: SliceBatch, target_train_step: int) -> I32:
        """Return the horizon of each slice's training targets, where they are n-step returns."""
        if self._config.reanalyzer.value_target != "td":
            # Mixed: n-step returns are for new data alone, which needs no correction.
            return np.full(len(slices.steps_left), self._config.agent.td_steps, np.int32)
        return self._td_steps(slices, target_train_step)

    def _td_steps(self, slices: SliceBatch, target_train_step: int) -> I32:
        """Return the horizon of each slice, i32 [B]."""
        agent, reanalyzer = self._config.agent, self._config.reanalyzer
        if not reanalyzer.off_policy_correction:
            return np.full(len(slices.steps_left), agent.td_steps, np.int32)
        ages: I64 = (
            self._newest.env_step - slices.env_steps
            if self._config.compat.transition_age
            else target_train_step - slices.weights_versions
        )
        return corrected_td_steps(
            ages=ages,
            td_steps=agent.td_steps,
            # Also of an age in transitions: the reference makes no difference between the two.
            age_per_step=age_per_td_step(reanalyzer, self._config.budget),
        )

    def _values_and_policies(
        self, slices: SliceBatch, value_cells: Bool, by_search: Bool, exists: Bool
    ) -> _Found:
        """Return fresh values and policy targets.

        Args:
            slices: B of them.
            value_cells: bool [B, K + n + 1], where a value to bootstrap from is needed.
            by_search: bool [B, K + 1], where the value target is a search's root value.
            exists: bool [B, K + 1], where a policy target exists.
        """
        num_policies = exists.shape[1]
        values = np.zeros(value_cells.shape, np.float32)
        policies = np.where(exists[:, :, None], slices.search_policies, 0.0).astype(np.float32)
        policy_cells = np.zeros_like(value_cells)
        policy_cells[:, :num_policies] = exists & self._chosen(len(exists))[:, None]
        if self._config.reanalyzer.value_bootstrap == "network":
            with self._timer.section("values"):
                values[value_cells] = self._network_values(slices.frames, value_cells)
            cells = policy_cells.copy()
        else:
            cells = policy_cells | value_cells
        cells[:, :num_policies] |= by_search
        root_values = np.full(cells.shape, np.nan, np.float32)
        with self._timer.section("search"):
            found = self._searched(
                self._observations(slices.frames, cells, self._search.batch_size)
            )
        if found is not None:
            root_values[cells] = found.root_values
            if self._config.reanalyzer.value_bootstrap == "search":
                values[cells] = found.root_values
            for_policy = SearchResult._make(column[policy_cells[cells]] for column in found)
            policies[policy_cells[:, :num_policies]] = for_policy.policies
            self.diagnostics.add_searches(for_policy)
        return _Found(values, root_values[:, :num_policies], policies)

    def _chosen(self, num_slices: int) -> Bool:
        """Return which slices get policies from a fresh search, bool [B]."""
        chosen = np.zeros(num_slices, np.bool_)
        num_fresh = num_fresh_policies(self._config, num_slices)
        chosen[self._generator.permutation(num_slices)[:num_fresh]] = True
        return chosen

    def _network_values(self, frames: Frames, cells: Bool) -> F32:
        parts = [
            self._search.network_values(part)
            for part in self._observations(frames, cells, self._value_batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _searched(self, observations: Iterable[Frames]) -> SearchResult | None:
        """Return what searches of all ``observations`` found; None without any."""
        results = []
        for part in observations:
            self.search_rates.add(len(part))
            results.append(self._search.run(part, exploration_noise=True))
        if not results:
            return None
        return SearchResult._make(np.concatenate(column) for column in zip(*results, strict=True))

    def _observations(self, frames: Frames, cells: Bool, size: int) -> Iterator[Frames]:
        """Yield the observations of ``cells`` [B, K + n + 1], row by row.

        In parts of at most ``size``, each stacked when it is wanted: all policy roots of 256
        slices of 96x96 RGB frames would be 170 MB.
        """
        num_stacked = self._config.env.num_stacked_frames
        rows, offsets = np.nonzero(cells)
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            windows = offsets[part, None] + np.arange(num_stacked)  # [N, S]
            yield stack_window(frames[rows[part, None], windows], 0, num_stacked)


def _cells(offsets: I32, needed: Bool, num_offsets: int) -> Bool:
    """Return [B, num_offsets] cells: those that ``offsets`` names where ``needed``, [B, K + 1]."""
    cells = np.zeros((len(offsets), num_offsets), np.bool_)
    rows, _ = np.nonzero(needed)
    cells[rows, offsets[needed]] = True
    return cells

"""Turns sampled slices into a training batch: values, searches and targets.

Called by the reanalyzer's loop, which keeps the weights current. A root is a cell of a
[B, K + n + 1] grid: slice and offset. Each cell is evaluated or searched at most once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from efficientzero.config import (
    Config,
    has_local_targets,
    num_actions_in_slice,
    num_fresh_policies,
    num_refreshed,
)
from efficientzero.metrics import SearchRates, SectionTimer
from efficientzero.schema import (
    F32,
    F64,
    Bool,
    Roots,
    SearchResult,
    SliceBatch,
)
from efficientzero.search import Planner
from reanalyzer.diagnostics import BatchDiagnostics, Newest
from reanalyzer.targets.action_values import (
    add_action_value_targets,
    no_action_value_targets,
)
from reanalyzer.targets.cells import CellValues, observations
from reanalyzer.targets.local import LocalTarget
from reanalyzer.targets.mixed import MixedTarget
from reanalyzer.targets.retrace import RetraceTarget
from reanalyzer.targets.search import SearchTarget
from reanalyzer.targets.slice_targets import (
    SlotTargets,
    action_mask,
    bootstrap_legal_actions,
    policy_mask,
    slice_ends,
    stored_policies,
    stored_slots,
    value_prefix_targets,
)
from reanalyzer.targets.td import TdTarget
from reanalyzer.targets.td_lambda import TdLambdaTarget
from reanalyzer.targets.v_trace import VTraceTarget
from reanalyzer.targets.value_target import (
    AlternatingTarget,
    Estimates,
    Needs,
    Sample,
    ValueTarget,
    nothing_to_complete,
)
from replay.format import TrainingBatch

VALUE_TARGETS: dict[str, Callable[[Config], ValueTarget]] = {
    "td": TdTarget,
    "search": SearchTarget,
    "mixed": MixedTarget,
    "td_lambda": TdLambdaTarget,
    "v_trace": VTraceTarget,
    "retrace": RetraceTarget,
}
"""By ``reanalyzer.value_target``."""


def value_target(config: Config) -> ValueTarget:
    """Return what makes a run's value targets, or the part of them that the learner completes."""
    if has_local_targets(config):
        return LocalTarget(config)
    return AlternatingTarget(VALUE_TARGETS[config.reanalyzer.value_target](config))


NO_STEP = -1
"""Placeholder: no env_step whose priority is refreshed."""


class TargetMaker:
    """Makes training batches with one network; not thread-safe."""

    def __init__(
        self,
        config: Config,
        *,
        num_actions: int,
        search: Planner,
        generator: np.random.Generator,
        timer: SectionTimer,
    ) -> None:
        """Store the parts.

        Args:
            config: the run's config.
            num_actions: A, the range of random actions; 0: they are continuous.
            search: on the network with the target weights; larger batches of roots are cut to
                its size.
            generator: for actions past the end and the choice of reanalysed slices.
            timer: records the sections ``values`` and ``search``.
        """
        self._config, self._search = config, search
        self._num_actions = max(1, num_actions)  # none of an index is read if it is 0
        self._generator, self._timer = generator, timer
        self._cells = CellValues(config, search, timer)
        self._value_target = value_target(config)
        self._auxiliary_targets = [
            value_target(_with_discount(config, discount))
            for discount in config.agent.auxiliary_discounts
        ]
        self._priority_target = AlternatingTarget(TdTarget(config, num_unroll_steps=0))
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
            target_train_step: of the network's weights.
        """
        config, agent = self._config, self._config.agent
        steps = agent.num_unroll_steps
        self._newest.update(slices, target_train_step)
        sample = self._aged(slices, target_train_step)
        needs = self._value_target.needs(sample)
        estimates, heads = self._cells.estimates(slices, needs)
        action_values = no_action_value_targets(config, *slices.search_policies.shape[::2])
        actions = slices.actions[:, : num_actions_in_slice(agent)]
        mask = action_mask(sample.ends, actions.shape[1])
        slots = stored_slots(slices, mask[:, :steps], steps + 1, self._generator)
        found, policies = self._values_and_policies(
            slices, needs, estimates[0], policy_mask(sample.ends, steps), (action_values, slots)
        )
        q = self._cells.action_values(slices, needs.action_values)
        found = found._replace(policies=heads, action_values=q)
        targets = self._value_target.targets(sample, found)
        random_actions = self._generator.integers(0, self._num_actions, size=mask.shape)
        self.diagnostics.add_batch(
            slices,
            self._newest,
            target_train_step=target_train_step,
            td_steps=targets.td_steps,
            action_mask=mask,
            bootstraps=targets.bootstraps,
        )
        takes_search = targets.td_steps == 0
        if targets.completion is None:
            self.diagnostics.add_value_targets(
                takes_search, (found.root_values - targets.values)[~takes_search]
            )
        completion = targets.completion or nothing_to_complete(len(mask))
        num_frames = config.env.num_stacked_frames + steps
        if targets.completion is not None:
            num_frames += agent.td_steps
        return TrainingBatch(
            frames=slices.frames[:, :num_frames],
            actions=np.where(mask, actions, random_actions).astype(np.int64),
            value_prefixes=value_prefix_targets(
                slices.rewards,
                num_unroll_steps=steps,
                horizon=agent.value_prefix_horizon if agent.value_prefix else 1,
            ),
            values=targets.values,
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
            bootstrap_offsets=completion.offsets,
            bootstrap_discounts=completion.discounts,
            auxiliary_values=self._auxiliary_values(sample, found, estimates[1:]),
            action_value_targets=action_values,
            bootstrap_legal_actions=bootstrap_legal_actions(slices, completion.offsets, agent),
            continuous_actions=slots.taken,
            policy_actions=slots.in_slots,
            best_actions=slots.best,
        )

    def value_errors(self, slices: SliceBatch, target_train_step: int) -> F64:
        """Return |value - z[0]| of any number of slices under the network's weights, f64 [B].

        The value is V(o[t]), or Q(o[t], a[t]) where action values are trained.

        The priority of PER (section 3.3), as the learner would compute it with these weights. The
        bootstrap is the network's value even if training targets use a search's, and the error is
        that of the n-step return even if the value target is a search's.
        """
        sample = self._aged(slices, target_train_step)
        cells = self._priority_target.needs(sample).values
        by_action = self._config.agent.value_function == "action"
        cells[:, 0] |= not by_action
        values = np.zeros(cells.shape, np.float32)
        values[cells] = self._cells.state_values(slices, cells)
        no_roots = np.full((len(values), 1), np.nan, np.float32)
        targets = self._priority_target.targets(sample, Estimates(values, no_roots)).values
        now = self._cells.taken_action_values(slices) if by_action else values[:, 0]
        errors: F64 = np.abs(now - targets[:, 0]).astype(np.float64)
        return errors

    def _aged(self, slices: SliceBatch, target_train_step: int) -> Sample:
        """Return the input of the value targets."""
        return Sample(
            slices,
            slice_ends(slices, block_length=self._config.compat.block_length),
            self._newest.env_step - slices.env_steps,
            target_train_step,
        )

    def _values_and_policies(
        self,
        slices: SliceBatch,
        needs: Needs,
        values: F32,
        exists: Bool,
        others: tuple[F32, SlotTargets],
    ) -> tuple[Estimates, F32]:
        """Return fresh values, and policy targets [B, K + 1, W].

        Args:
            slices: B of them.
            needs: of the value target.
            values: f32 [B, K + n + 1], the network's; replaced where searches bootstrap.
            exists: bool [B, K + 1], where a policy target exists.
            others: targets of action values, f32 [B, D, W], and slots of continuous actions;
                written to where there was a search.
        """
        action_values, slots = others
        num_policies = exists.shape[1]
        policies = stored_policies(slices, exists)
        policy_cells = np.zeros_like(needs.values)
        policy_cells[:, :num_policies] = exists & self._chosen(len(exists))[:, None]
        cells = policy_cells.copy()
        if self._config.reanalyzer.value_bootstrap == "search":
            cells |= needs.values
        cells[:, :num_policies] |= needs.roots
        root_values = np.full(cells.shape, np.nan, np.float32)
        with self._timer.section("search"):
            found = self._searched(slices, cells)
        if found is not None:
            root_values[cells] = found.root_values
            if self._config.reanalyzer.value_bootstrap == "search":
                values[cells] = found.root_values
            for_policy = SearchResult._make(column[policy_cells[cells]] for column in found)
            for_cells = policy_cells[:, :num_policies]
            policies[for_cells] = for_policy.policies
            slots.write(for_cells, for_policy)
            add_action_value_targets(action_values, for_cells, for_policy, self._config)
            self.diagnostics.add_searches(for_policy)
        return Estimates(values, root_values[:, :num_policies]), policies

    def _auxiliary_values(self, sample: Sample, found: Estimates, estimates: F32) -> F32:
        """Return the targets of each auxiliary horizon from its ``estimates``, [B, H, K + 1]."""
        shape = (len(sample.slices.keys), 0, self._config.agent.num_unroll_steps + 1)
        columns = [
            target.targets(sample, found._replace(values=values)).values[:, None]
            for target, values in zip(self._auxiliary_targets, estimates, strict=True)
        ]
        return np.concatenate([np.zeros(shape, np.float32), *columns], axis=1)

    def _chosen(self, num_slices: int) -> Bool:
        """Return which slices get policies from a fresh search, bool [B]."""
        chosen = np.zeros(num_slices, np.bool_)
        num_fresh = num_fresh_policies(self._config, num_slices)
        chosen[self._generator.permutation(num_slices)[:num_fresh]] = True
        return chosen

    def _searched(self, slices: SliceBatch, cells: Bool) -> SearchResult | None:
        """Return the results of searching all ``cells``; None if there are none."""
        results, size, done = [], self._search.batch_size, 0
        legal = slices.legal_actions[cells] if slices.legal_actions.size else None  # row by row
        for part in observations(slices.frames, cells, size, self._config.env.num_stacked_frames):
            self.search_rates.add(len(part))
            mask = None if legal is None else legal[done : done + len(part)]
            results.append(self._search.run(Roots(part, mask), exploration_noise=True))
            done += len(part)
        if not results:
            return None
        return SearchResult._make(np.concatenate(column) for column in zip(*results, strict=True))


def _with_discount(config: Config, discount: float) -> Config:
    return dataclasses.replace(config, agent=dataclasses.replace(config.agent, discount=discount))

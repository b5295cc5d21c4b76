"""A part of a batch of searches: its trees, its pool, and one simulation in flight.

Used by ``search``. ``launch`` lets the trees choose and starts the network; ``collect`` waits for
its answer and gives it to the trees. Between the two, on a GPU, another part's trees can work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from efficientzero.config import AgentConfig, CompatConfig, SearchConfig, planning_discount
from efficientzero.inference import (
    ACTIONS,
    KEEPS_LSTM,
    NODES,
    NUM_INDEX_ROWS,
    PARENTS,
    LatentPool,
    SearchNetwork,
    SlotShape,
)
from efficientzero.networks import StepAnswers
from efficientzero.schema import F32, Bool, SearchResult
from efficientzero.search.improved_policy import improved_policy
from mcts_cpp import SearchParams, TreeBatch

if TYPE_CHECKING:
    from mcts_cpp._core import ExportedTree


class SearchPart:
    """B trees and their latents."""

    def __init__(
        self,
        network: SearchNetwork,
        *,
        search: SearchConfig,
        agent: AgentConfig,
        compat: CompatConfig,
        policy_width: int,
        num_players: int,
        batch_size: int,
        device: torch.device,
        wants_child_q: bool,
        slots: SlotShape | None = None,
    ) -> None:
        """Allocate trees, pool and buffers; ``slots`` are those of continuous actions."""
        self.batch_size = batch_size
        """B."""
        self._device = device
        self._policy_width = policy_width
        self._improve = improved_policy(search)
        self._wants_child_q = wants_child_q or self._improve is not None
        self._legal_actions: Bool | None = None  # of the search under way
        self._trees = TreeBatch(
            batch_size,
            policy_width,
            search.num_simulations,
            _search_params(search, agent, compat, num_players, is_sampled=slots is not None),
            np.zeros(batch_size, np.uint64),
            search.num_threads,
        )
        on_cuda = device.type == "cuda"
        indices = torch.zeros((NUM_INDEX_ROWS, batch_size), dtype=torch.int32)
        self._indices = indices.pin_memory() if on_cuda else indices
        # The rows of the indices and the parts of the answer as numpy sees them, made once: making
        # them again in every simulation would cost as much as half of the trees' own work.
        rows = self._indices.numpy()
        self._parents, self._actions = rows[PARENTS], rows[ACTIONS]
        self._keeps_lstm, self._nodes = rows[KEEPS_LSTM], rows[NODES]
        self._resets = np.zeros(batch_size, np.bool_)
        answer = torch.empty(StepAnswers.size(batch_size, policy_width))
        self._answer = answer.pin_memory() if on_cuda else answer
        prefixes, values, logits = StepAnswers.within(self._answer, policy_width)
        self._answer_parts = (prefixes.numpy(), values.numpy(), logits.numpy())
        self._answered = torch.cuda.Event() if on_cuda else None  # type: ignore[no-untyped-call]
        num_nodes = search.num_simulations + 1
        self._pool = LatentPool(network, batch_size, num_nodes=num_nodes, slots=slots)

    def write_slots(self, root_actions: Tensor, noise: Tensor) -> None:
        """Store the actions of the roots' slots and the noise of all others.

        Args:
            root_actions: f32 [B, W, X] on the device.
            noise: f32 [M, B, inner, X].
        """
        self._pool.write_slots(root_actions, noise)

    def expand_roots(
        self,
        latents: Tensor,
        policy_logits: F32,
        values: F32,
        *,
        seeds: NDArray[np.uint64],
        legal_actions: Bool | None,
        draw_noise: bool,
    ) -> None:
        """Start new searches.

        Args:
            latents: [B, *latent] of the roots, on the device.
            policy_logits: [B, W].
            values: [B], raw scale.
            seeds: [B], one per tree.
            legal_actions: [B, A]; None: all are.
            draw_noise: explore at the roots.
        """
        self._legal_actions = legal_actions
        self._pool.write_roots(latents)
        self._trees.reset(seeds)
        self._trees.expand_roots(
            policy_logits, values, legal_actions=legal_actions, draw_noise=draw_noise
        )

    def launch(self, node: int) -> None:
        """Choose the leaves of simulation ``node`` and start their inference."""
        self._trees.select_leaves(self._parents, self._actions, self._resets)
        np.logical_not(self._resets, out=self._keeps_lstm)
        self._nodes.fill(node)
        numbers = self._pool.step(self._indices.to(self._device, non_blocking=True), node)
        # Neither pinned buffer is touched again before ``collect`` has waited.
        self._answer.copy_(numbers, non_blocking=True)
        if self._answered is not None:
            self._answered.record()

    def collect(self) -> None:
        """Wait for the inference and back its answer up."""
        if self._answered is not None:
            self._answered.synchronize()
        self._trees.backup(*self._answer_parts)

    def result(self, predicted_values: F32, prior_logits: F32) -> SearchResult:
        """Return what the roots found; the arguments, [B] and [B, W], are the network's own."""
        shape = (self.batch_size, self._policy_width)
        result = SearchResult(
            visit_counts=np.empty(shape, np.int32),
            policies=np.empty(shape, np.float32),
            best_actions=np.empty(self.batch_size, np.int32),
            root_values=np.empty(self.batch_size, np.float32),
            predicted_values=predicted_values,
            prior_logits=prior_logits,
            search_depths=np.empty(self.batch_size, np.int32),
            child_q=np.empty(shape if self._wants_child_q else (self.batch_size, 0), np.float32),
            slot_actions=np.empty((self.batch_size, 0, 0), np.float32),
        )
        self._trees.visit_counts(result.visit_counts)
        self._trees.best_actions(result.best_actions)
        self._trees.root_values(result.root_values)
        self._trees.search_depths(result.search_depths)
        if self._wants_child_q:
            self._trees.child_q(result.child_q)
        if self._improve is None:
            self._trees.action_weights(result.policies)
        else:
            result.policies[:] = self._improve(result, self._legal_actions)
        return result

    def export_tree(self, root: int) -> ExportedTree:
        """Return all nodes of one root's tree, as values that ``json`` takes."""
        return self._trees.export_tree(root)


def _search_params(
    search: SearchConfig,
    agent: AgentConfig,
    compat: CompatConfig,
    num_players: int,
    *,
    is_sampled: bool,
) -> SearchParams:
    # With sampled actions the draws explore, and Gumbel variables are a choice.
    has_variables = search.sampled_gumbel_noise or not is_sampled
    return SearchParams(
        discount=planning_discount(agent, search),
        pb_c_init=search.pb_c_init,
        pb_c_base=search.pb_c_base,
        value_delta_max=search.value_delta_max,
        value_prefix_horizon=agent.value_prefix_horizon,
        use_value_prefix=agent.value_prefix,
        root_exploration_fraction=search.root_exploration_fraction,
        normalize_q=search.normalize_q,
        algorithm=search.algorithm,
        unvisited_q=search.unvisited_q,
        known_q_bounds=(search.q_bounds[0], search.q_bounds[1]) if search.q_bounds else None,
        root_dirichlet_alpha=search.root_dirichlet_alpha,
        max_considered_actions=search.gumbel_max_considered_actions,
        maxvisit_init=search.gumbel_maxvisit_init,
        value_scale=search.gumbel_value_scale,
        num_players=num_players,
        gumbel_scale=1.0 if has_variables else 0.0,
        gumbel_q_range=search.gumbel_q_range,
        root_visit_has_value=not compat.root_visit_without_value,
        exploration_counts_expansion=not compat.random_first_child,
        recomputed_bounds=compat.recomputed_bounds,
        stale_prefix_bounds=compat.stale_prefix_bounds,
    )

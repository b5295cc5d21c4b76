"""One batched Monte-Carlo tree search: the network on the device, the trees in C++.

Called by actors, the evaluator and reanalyzers. Latents never leave the device: they live in a
pool indexed by (simulation, tree), because simulation i expands node i of every tree. Per
simulation: select leaves (C++), one gather, one recurrent inference, back up (C++).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from efficientzero.config import AgentConfig, SearchConfig
from efficientzero.devices import precision_context
from efficientzero.inference import (
    ACTIONS,
    KEEPS_LSTM,
    NODES,
    NUM_INDEX_ROWS,
    PARENTS,
    LatentPool,
)
from efficientzero.networks import EfficientZeroNet
from efficientzero.schema import F32, Frames, SearchResult
from mcts_cpp import SearchParams, TreeBatch

if TYPE_CHECKING:
    from mcts_cpp._core import ExportedTree


class BatchedSearch:
    """Searches up to ``batch_size`` roots at once with one network; not thread-safe."""

    def __init__(
        self,
        network: EfficientZeroNet,
        *,
        search: SearchConfig,
        agent: AgentConfig,
        num_actions: int,
        batch_size: int,
        device: torch.device,
        generator: np.random.Generator,
    ) -> None:
        """Allocate trees, pools and buffers once.

        Args:
            network: on ``device`` and in eval mode; its weights may change between searches.
            search: coefficients and number of simulations.
            agent: discount and value-prefix settings.
            num_actions: A.
            batch_size: B, the most roots of one ``run``.
            device: where the network lives.
            generator: source of the trees' seeds, which decide root noise and ties.
        """
        self._network, self._search, self._device, self._generator = (
            network,
            search,
            device,
            generator,
        )
        self.batch_size, self._num_actions = batch_size, num_actions
        self.num_simulations = search.num_simulations
        self._trees = TreeBatch(
            batch_size,
            num_actions,
            search.num_simulations,
            SearchParams(
                discount=agent.discount,
                pb_c_init=search.pb_c_init,
                pb_c_base=search.pb_c_base,
                value_delta_max=search.value_delta_max,
                value_prefix_horizon=agent.value_prefix_horizon,
                use_value_prefix=agent.value_prefix,
                root_exploration_fraction=search.root_exploration_fraction,
                algorithm=search.algorithm,
                unvisited_q=search.unvisited_q,
                root_dirichlet_alpha=search.root_dirichlet_alpha,
                max_considered_actions=search.gumbel_max_considered_actions,
                maxvisit_init=search.gumbel_maxvisit_init,
                value_scale=search.gumbel_value_scale,
            ),
            self._seeds(),
            search.num_threads,
        )
        indices = torch.zeros((NUM_INDEX_ROWS, batch_size), dtype=torch.int32)
        self._indices = indices.pin_memory() if device.type == "cuda" else indices
        self._resets = np.zeros(batch_size, np.bool_)
        self._pool: LatentPool | None = None  # made by the first search, which knows the shapes

    def export_tree(self, root: int) -> ExportedTree:
        """Return all nodes of one root's tree after ``run``, as values that ``json`` takes."""
        return self._trees.export_tree(root)

    @property
    def on_gpu(self) -> bool:
        """Whether a search leaves the CPU free for other work."""
        return self._device.type != "cpu"

    @torch.inference_mode()
    def run(self, observations: Frames | Tensor, *, exploration_noise: bool) -> SearchResult:
        """Search from ``observations`` and return what the roots found.

        Args:
            observations: [N, *observation] with 1 <= N <= batch_size, uint8 or float32.
            exploration_noise: explore at the root: Dirichlet noise in the priors, or with
                Gumbel's search its Gumbel variables; without them it is deterministic.

        Raises:
            ValueError: N out of range, or the network answered with a number that is not finite.
        """
        num_roots = len(observations)
        if not 1 <= num_roots <= self.batch_size:
            raise ValueError(f"observations: got {num_roots} roots, wanted 1 to {self.batch_size}")
        pool, predicted_values = self._expand_roots(self._padded(observations), exploration_noise)
        for node in range(1, self.num_simulations + 1):
            self._simulate(pool, node)
        return self._result(num_roots, predicted_values)

    def _expand_roots(
        self, observations: Tensor, exploration_noise: bool
    ) -> tuple[LatentPool, F32]:
        with precision_context(self._search.precision, self._device):
            root = self._network.initial_inference(observations)
        if self._pool is None:
            self._pool = LatentPool(
                self._network,
                root.latents,
                num_nodes=self.num_simulations + 1,
                backend=self._search.inference_backend,
                precision=self._search.precision,
            )
        self._pool.write_roots(root.latents)
        values = _to_numpy(self._network.support.decode(root.value_logits))
        self._trees.reset(self._seeds())
        self._trees.expand_roots(
            _to_numpy(root.policy_logits), values, draw_noise=exploration_noise
        )
        return self._pool, values

    def _simulate(self, pool: LatentPool, node: int) -> None:
        indices, batch = self._indices.numpy(), self.batch_size
        self._trees.select_leaves(indices[PARENTS], indices[ACTIONS], self._resets)
        np.logical_not(self._resets, out=indices[KEEPS_LSTM])
        indices[NODES] = node
        # The pinned buffer is written again only after the answer, so the copy may go ahead.
        numbers = _to_numpy(pool.step(self._indices.to(self._device, non_blocking=True)))
        self._trees.backup(
            numbers[:batch], numbers[batch : 2 * batch], numbers[2 * batch :].reshape(batch, -1)
        )

    def _result(self, num_roots: int, predicted_values: F32) -> SearchResult:
        batch, num_actions = self.batch_size, self._num_actions
        result = SearchResult(
            visit_counts=np.empty((batch, num_actions), np.int32),
            policies=np.empty((batch, num_actions), np.float32),
            best_actions=np.empty(batch, np.int32),
            root_values=np.empty(batch, np.float32),
            predicted_values=predicted_values,
            search_depths=np.empty(batch, np.int32),
        )
        self._trees.visit_counts(result.visit_counts)
        self._trees.action_weights(result.policies)
        self._trees.best_actions(result.best_actions)
        self._trees.root_values(result.root_values)
        self._trees.search_depths(result.search_depths)
        return SearchResult._make(array[:num_roots] for array in result)

    def _padded(self, observations: Frames | Tensor) -> Tensor:
        """Return B observations on the device; the last root is repeated where fewer were given."""
        roots = torch.as_tensor(observations).to(self._device)
        missing = self.batch_size - len(roots)
        if missing:
            roots = torch.cat([roots, roots[-1:].expand(missing, *roots.shape[1:])])
        return roots

    def _seeds(self) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        return self._generator.integers(0, 2**64, size=self.batch_size, dtype=np.uint64)


def uniform_search_result(num_roots: int, num_actions: int) -> SearchResult:
    """Return what a search without any knowledge finds: every action alike, all values zero.

    Actors use it before training starts, when a search with untrained weights would cost the same
    time as any other and find nothing.
    """
    return SearchResult(
        visit_counts=np.ones((num_roots, num_actions), np.int32),
        policies=np.full((num_roots, num_actions), 1.0 / num_actions, np.float32),
        best_actions=np.zeros(num_roots, np.int32),
        root_values=np.zeros(num_roots, np.float32),
        predicted_values=np.zeros(num_roots, np.float32),
        search_depths=np.zeros(num_roots, np.int32),
    )


def _to_numpy(tensor: Tensor) -> F32:
    return np.ascontiguousarray(tensor.float().cpu().numpy())

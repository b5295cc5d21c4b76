"""Batched MuZero search trees (compiled from `src/`).

B trees with A actions advance in lock-step; the caller runs the network and owns the latents::

    batch.expand_roots(policy_logits, values, noise, legal_actions)
    for node in range(1, num_simulations + 1):
        batch.select_leaves(parent_node, action, resets_prefix)
        # infer from latents[parent_node[b], b] and action[b]; the new latent is latents[node, b];
        # its recurrent state is zeroed where resets_prefix[b]
        batch.backup(value_prefixes, values, policy_logits)
    batch.visit_counts(out)

Node 0 is the root; simulation i expands node i of every tree.

All arrays are C-contiguous with exactly the dtype and shape given; nothing is converted or copied.
Results are written into the caller's arrays. Wrong arrays, numbers that are not finite (or beyond
1e25), roots without a legal action and calls out of order raise `ValueError` and change nothing.
Every call releases the GIL. An object is not thread-safe; different objects are independent.

Same numbers and seeds give the same search, bit by bit. Exactly equal scores are decided by a
SplitMix64 sequence per tree, seeded by `seeds`, that advances by one per tie.
"""

import numpy as np
from numpy.typing import NDArray

class SearchParams:
    """Coefficients of the search; read-only."""

    def __init__(
        self,
        *,
        discount: float,
        pb_c_init: float = 1.25,
        pb_c_base: float = 19652.0,
        value_delta_max: float = 0.01,
        value_prefix_horizon: int = 5,
        use_value_prefix: bool = True,
        root_exploration_fraction: float = 0.25,
    ) -> None:
        """Check and keep the coefficients.

        Args:
            discount: Weight of one step further ahead (gamma), in [0, 1].
            pb_c_init: Strength of the prior at few visits (c1), in [0, 1e6].
            pb_c_base: Visits at which the prior's strength starts to grow (c2), in [1, 1e9].
            value_delta_max: Smallest range by which Q is divided when it is normalised, in
                [1e-12, 1e6].
            value_prefix_horizon: Depth after which the sum of rewards restarts, in [1, 32767].
            use_value_prefix: Whether `backup` gets running sums of rewards, not rewards.
            root_exploration_fraction: Share of the root prior that noise replaces, in [0, 1].

        Raises:
            ValueError: A coefficient is outside its range.
        """

    @property
    def discount(self) -> float: ...
    @property
    def pb_c_init(self) -> float: ...
    @property
    def pb_c_base(self) -> float: ...
    @property
    def value_delta_max(self) -> float: ...
    @property
    def value_prefix_horizon(self) -> int: ...
    @property
    def use_value_prefix(self) -> bool: ...
    @property
    def root_exploration_fraction(self) -> float: ...

class TreeBatch:
    """B independent search trees."""

    def __init__(
        self,
        num_trees: int,  # B, 1 to 1048576
        num_actions: int,  # A, 1 to 1024
        num_simulations: int,  # M, 1 to 32766
        params: SearchParams,
        seeds: NDArray[np.uint64],  # [B]
    ) -> None:
        """Allocate the trees; `expand_roots` comes next."""

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Drop the trees and restart the random sequences from new seeds [B]."""

    def expand_roots(
        self,
        policy_logits: NDArray[np.float32],  # [B, A]
        values: NDArray[np.float32],  # [B]
        noise: NDArray[np.float32] | None = None,  # [B, A] >= 0
        legal_actions: NDArray[np.bool_] | None = None,  # [B, A]
    ) -> None:
        """Start a new search in every tree; random sequences continue.

        The prior is the softmax over legal actions, mixed with noise rescaled over legal actions.
        The predicted value counts as the root's first visit.
        """

    def select_leaves(
        self,
        parent_node: NDArray[np.int32],  # [B] out: node whose latent is to be expanded
        action: NDArray[np.int32],  # [B] out: action taken there
        resets_prefix: NDArray[np.bool_],  # [B] out: new node's depth % value_prefix_horizon == 0
    ) -> None:
        """Choose the leaf each tree expands next."""

    def backup(
        self,
        value_prefixes: NDArray[np.float32],  # [B]; rewards, unless use_value_prefix
        values: NDArray[np.float32],  # [B]
        policy_logits: NDArray[np.float32],  # [B, A]
    ) -> None:
        """Expand the chosen leaves with the network's answers and update their ancestors."""

    def visit_counts(self, out: NDArray[np.int32]) -> None:
        """Write the visits of the root's actions, [B, A]; rows sum to the simulations done."""

    def child_q(self, out: NDArray[np.float32]) -> None:
        """Write Q of the root's actions, [B, A]; NaN where never visited."""

    def root_values(self, out: NDArray[np.float32]) -> None:
        """Write the mean return from the root, [B], the network's own prediction included."""

    def search_depths(self, out: NDArray[np.int32]) -> None:
        """Write the depth of each tree's deepest node, [B]; the root's depth is 0."""

    @property
    def num_trees(self) -> int: ...
    @property
    def num_actions(self) -> int: ...
    @property
    def num_simulations(self) -> int: ...
    @property
    def num_simulations_done(self) -> int:
        """Simulations backed up since `expand_roots`."""

"""Batched MuZero search trees (compiled from `src/`).

B trees with A actions advance in lock-step; the caller runs the network and owns the latents::

    batch.expand_roots(policy_logits, values, noise, legal_actions)
    for node in range(1, num_simulations + 1):
        batch.select_leaves(parent_node, action, resets_prefix)
        # infer from latents[parent_node[b], b] and action[b]; the new latent is latents[node, b];
        # its recurrent state is zeroed where resets_prefix[b]
        batch.backup(value_prefixes, values, policy_logits)
    batch.action_weights(out)

Node 0 is the root; simulation i expands node i of every tree. A search may also start from the
subtree of the action just played: see `TreeBatch.advance`.

All arrays are C-contiguous with exactly the dtype and shape given, numpy arrays or CPU tensors of a
library that speaks DLPack (a torch tensor that needs no gradient); nothing is converted or copied.
Results are written into the caller's arrays. Wrong arrays, numbers that are not finite (or beyond
1e25), roots without a legal action and calls out of order raise `ValueError` and change nothing; an
argument that is no array raises `TypeError`. Every call releases the GIL. An object takes one call
at a time and refuses a second one with `ValueError`; different objects are independent.

Same numbers and seeds give the same search, bit by bit. Exactly equal scores are decided by a
SplitMix64 sequence per tree, seeded by `seeds`, that advances by one per tie; noise that the trees
draw themselves comes from a second sequence.
"""

from typing import Literal, Protocol, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

class DlpackTensor(Protocol):
    """A tensor in CPU memory that another library owns."""

    def __dlpack__(self) -> object: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

Float32: TypeAlias = NDArray[np.float32] | DlpackTensor
Int32: TypeAlias = NDArray[np.int32] | DlpackTensor
Uint64: TypeAlias = NDArray[np.uint64] | DlpackTensor
Bool: TypeAlias = NDArray[np.bool_] | DlpackTensor

class ExportedNode(TypedDict):
    """One expanded node; values of the step into it are None or 1 at the root."""

    index: int  # the simulation that expanded it, nodes kept by `advance` aside
    parent: int | None
    action: int | None  # the step into this node
    depth: int
    visits: int  # its own expansion included
    value: float  # mean return from here, for the player to move
    reward: float  # of the step into this node
    prior: float  # of the step into this node
    q: float | None  # of the step into this node, as the parent sees it
    priors: list[float]  # [A] of the steps out of this node

class ExportedTree(TypedDict):
    """One tree; a node comes after its parent."""

    tree: int
    num_actions: int
    nodes: list[ExportedNode]

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
        normalize_q: bool = True,
        algorithm: Literal["puct", "gumbel"] = "puct",
        unvisited_q: Literal["mean_q", "parent_value", "zero"] = "mean_q",
        known_q_bounds: tuple[float, float] | None = None,
        root_dirichlet_alpha: float = 0.3,
        max_considered_actions: int = 16,
        maxvisit_init: float = 50.0,
        value_scale: float = 0.1,
        gumbel_scale: float = 1.0,
        gumbel_q_range: str = "node",
        num_players: int = 1,
        root_visit_has_value: bool = True,
        exploration_counts_expansion: bool = True,
        recomputed_bounds: bool = False,
        stale_prefix_bounds: bool = False,
    ) -> None:
        """Check and keep the coefficients.

        The last four are for repeating the original EfficientZero's results; at their defaults
        the search is MuZero's.

        Args:
            discount: Weight of one step further ahead (gamma), in [0, 1].
            pb_c_init: Strength of the prior at few visits (c1), in [0, 1e6].
            pb_c_base: Visits at which the prior's strength starts to grow (c2), in [1, 1e9].
            value_delta_max: Smallest range by which Q is divided when it is normalised, in
                [1e-12, 1e6].
            value_prefix_horizon: Depth after which the sum of rewards restarts, in [1, 32767].
            use_value_prefix: Whether `backup` gets running sums of rewards, not rewards.
            root_exploration_fraction: Share of the root prior that noise replaces, in [0, 1].
            normalize_q: Whether Q is divided by its range: PUCT's by that in the tree, then clipped
                to [0, 1]; Gumbel's completed Q by `gumbel_q_range`. False: PUCT adds raw Q,
                and `value_delta_max`, `known_q_bounds`, `recomputed_bounds` and
                `stale_prefix_bounds` are without effect.
            algorithm: "puct": MuZero. "gumbel": Gumbel MuZero, with sequential halving at the root
                and the improved policy below it; then parameters marked PUCT have no effect, and
                vice versa.
            unvisited_q: PUCT: Q of actions without a visit. "mean_q": the mean Q of visited
                siblings and, below the root, of the parent's mean (as ELF). "parent_value": the
                node's own mean value. "zero": the Q that normalisation maps to 0, which is the
                lowest in the tree, as in MuZero; with `normalize_q=False` 0 itself.
            known_q_bounds: Lowest and highest Q, where known beforehand; they normalise Q
                from the first simulation on, and Qs outside still widen them. For PUCT, and for
                Gumbel with `gumbel_q_range="tree"`.
            root_dirichlet_alpha: PUCT: concentration of the noise the trees draw, in [1e-3, 1e3].
            max_considered_actions: Gumbel: most actions tried at the root, in [1, 1024].
            maxvisit_init: Gumbel: completed Q is multiplied by (maxvisit_init + most visits of an
                action of the node) * value_scale (c_visit), in [0, 1e6].
            value_scale: Gumbel: see above (c_scale), in [0, 1e3].
            gumbel_scale: Gumbel: factor of the variables the trees draw, in [0, 1e3].
            gumbel_q_range: Gumbel: the range that completed Q is divided by. "node": that at each
                node, as in mctx, so that a node's best and worst action are always as far apart.
                "tree": that of all values and Qs in the tree, at least `value_delta_max`; an
                action below the root was chosen with the range of the moment when its node
                changed last.
            num_players: 2 for a zero-sum game of alternating moves; every Q, value and root value
                is then that of the player to move. Excludes `use_value_prefix`.
            root_visit_has_value: Whether the root's first visit adds the network's value. False:
                a visit of value 0, which pulls root values towards 0.
            exploration_counts_expansion: Whether N(s) in the exploration term counts the node's
                own expansion. False: the first action tried at any node is uniformly random.
            recomputed_bounds: Whether the bounds of Q are, after each simulation, those of all Qs
                as they are now. False: those of every Q of this search; they only widen.
            stale_prefix_bounds: Whether they are recomputed depth first, last action's branch
                first, with rewards that are differences to the node met just before instead of
                the parent.

        Raises:
            ValueError: A coefficient is outside its range, or two exclude each other.
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
    @property
    def normalize_q(self) -> bool: ...
    @property
    def algorithm(self) -> str: ...
    @property
    def unvisited_q(self) -> str: ...
    @property
    def known_q_bounds(self) -> tuple[float, float] | None: ...
    @property
    def root_dirichlet_alpha(self) -> float: ...
    @property
    def max_considered_actions(self) -> int: ...
    @property
    def maxvisit_init(self) -> float: ...
    @property
    def value_scale(self) -> float: ...
    @property
    def gumbel_scale(self) -> float: ...
    @property
    def gumbel_q_range(self) -> str: ...
    @property
    def num_players(self) -> int: ...
    @property
    def root_visit_has_value(self) -> bool: ...
    @property
    def exploration_counts_expansion(self) -> bool: ...
    @property
    def recomputed_bounds(self) -> bool: ...
    @property
    def stale_prefix_bounds(self) -> bool: ...

class TreeBatch:
    """B independent search trees."""

    def __init__(
        self,
        num_trees: int,  # B, 1 to 1048576
        num_actions: int,  # A, 1 to 1024
        num_simulations: int,  # M, 1 to 32766
        params: SearchParams,
        seeds: Uint64,  # [B]
        num_threads: int = 1,  # 1 to 256
        max_reused_nodes: int = 0,  # R, 0 to 32766 - M
    ) -> None:
        """Allocate the trees; `expand_roots` comes next.

        The trees are split over `num_threads` threads, at most one for 16 trees; results do not
        depend on it. With `max_reused_nodes`, `advance` keeps so many nodes from search to search;
        a tree then has room for M + 1 + R. Excludes `stale_prefix_bounds`.
        """

    def reset(self, seeds: Uint64) -> None:
        """Drop the trees and restart the random sequences from new seeds [B]."""

    def expand_roots(
        self,
        policy_logits: Float32,  # [B, A]
        values: Float32,  # [B]
        noise: Float32 | None = None,  # [B, A]
        legal_actions: Bool | None = None,  # [B, A]
        to_play: Int32 | None = None,  # [B] 0 or 1
        draw_noise: bool = False,
        reuse: bool = False,
    ) -> None:
        """Start a new search in every tree; random sequences continue.

        The prior is the softmax over legal actions. The predicted value counts as the root's first
        visit. Noise is the caller's, or with `draw_noise` from each tree's own sequence, or none:
        for PUCT numbers >= 0 that are rescaled over legal actions and mixed into the prior
        (Dirichlet), for Gumbel any numbers, added to the logits where the root chooses (Gumbel).

        With two players and without `to_play`, the network's values are those of the player to move
        at a node, its rewards those of the player who acted. With `to_play`, the player to move at
        each root, all of them are player 0's.

        With `reuse`, trees of which `advance` kept something start from it: the prior and the noise
        are these ones, visits and returns those kept, the network's value counts for Gumbel's
        completed Q only. Actions below which nodes were kept must be legal. Without `reuse`, all
        trees start empty.
        """

    def select_leaves(
        self,
        parent_node: Int32,  # [B] out: node whose latent is to be expanded
        action: Int32,  # [B] out: action taken there
        resets_prefix: Bool,  # [B] out: new node's depth % value_prefix_horizon == 0
        new_node: Int32 | None = None,  # [B] out: index of the new node
    ) -> None:
        """Choose the leaf each tree expands next.

        After `expand_roots(..., reuse=True)` new nodes come after those kept, and `new_node`
        differs from tree to tree. Below a kept node, depth counts as in the search that expanded
        it.
        """

    def backup(
        self,
        value_prefixes: Float32,  # [B]; rewards, unless use_value_prefix
        values: Float32,  # [B]
        policy_logits: Float32,  # [B, A]
    ) -> None:
        """Expand the chosen leaves with the network's answers and update their ancestors."""

    def advance(
        self,
        actions: Int32,  # [B] played at the roots; -1: keep nothing
        old_node: Int32,  # [B, R + 1] out: index until now of kept node 0, 1, ...; -1 beyond them
        num_kept: Int32,  # [B] out: kept nodes, the new root included; 0: nothing
        legal_actions: Bool | None = None,  # [B, A] at the new roots
    ) -> None:
        """End a search: make the subtrees of the played actions the next trees.

        `expand_roots` comes next; give it the same `legal_actions`. Where the played action has no
        node nothing is kept. Else its node becomes node 0, and nodes below keep their order: the
        caller moves `latents[old_node[b, k], b]` to `latents[k, b]` for 1 <= k < num_kept[b], in
        this order, as old_node[b, k] > k. Node 0 gets the new root's latent.

        At most R nodes below the new root are kept, those expanded first, and none below actions
        illegal there. Dropped nodes are removed from their ancestors' visits and returns, so that a
        node's visits are again the nodes in its subtree. Every search adds up to M simulations:
        reuse gives a larger tree, not fewer inferences.

        Rewards stay as they were computed. A kept node's latent and recurrent state are of the old
        search, so sums of rewards below it restart where they would have in that search; only below
        the new root, whose state is new, they restart at once. Bounds of Q are those of kept nodes.
        Gumbel's halving at the root counts only the visits of the new search, also in
        `best_actions`; completed Q and `action_weights` use all visits.
        """

    def visit_counts(self, out: Int32) -> None:
        """Write the visits of the root's actions, [B, A].

        Rows sum to the simulations done; with `reuse`, plus the nodes kept below that root.
        """

    def action_weights(self, out: Float32) -> None:
        """Write the policy the search recommends, [B, A]: the target of the network's policy.

        For PUCT the share of visits, for Gumbel the improved policy.
        """

    def best_actions(self, out: Int32) -> None:
        """Write the action the search recommends, [B].

        For PUCT the first with most visits; for Gumbel, among those with most visits, the one with
        the highest sum of noise, logit and completed Q.
        """

    def child_q(self, out: Float32) -> None:
        """Write Q of the root's actions, [B, A]; NaN where never visited."""

    def root_values(self, out: Float32) -> None:
        """Write the mean return from the root, [B], the network's own prediction included."""

    def search_depths(self, out: Int32) -> None:
        """Write the depth of each tree's deepest node, [B]; the root's depth is 0."""

    def export_tree(self, tree: int) -> ExportedTree:
        """Return all nodes of one tree as dictionaries that `json.dumps` takes."""

    @property
    def num_trees(self) -> int: ...
    @property
    def num_actions(self) -> int: ...
    @property
    def num_simulations(self) -> int: ...
    @property
    def max_reused_nodes(self) -> int: ...
    @property
    def num_threads(self) -> int:
        """Threads in use, the caller's included."""
    @property
    def num_simulations_done(self) -> int:
        """Simulations backed up since `expand_roots`."""
    @property
    def bytes_per_tree(self) -> int:
        """Bytes that one tree takes.

        With Ap, A rounded up to eights: a node is 14 Ap + 16 bytes rounded up to 64; a tree is
        (M + 1) nodes, and 8 M + 4 bytes (12 M + 8 + 4 Ap for Gumbel) rounded up to 64, and an
        object of about 100 bytes. With R = max_reused_nodes > 0, M above is M + R, and
        2 (M + R + 1) bytes (for Gumbel 4 Ap more) join the second rounding.
        """

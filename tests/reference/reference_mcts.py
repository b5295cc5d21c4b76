"""Slow, obvious MCTS in Python: the truth that `mcts_cpp` must repeat bit by bit.

One object per node, one tree, numbers looked up in plain Python. Used by tests only; it shares no
code with the extension and knows nothing of its memory layout.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.reference.reference_numbers import CounterRandom, mixed_bits, softmax, sum_in_lanes

F32 = np.float32


@dataclass(frozen=True)
class ReferenceParams:
    """The same coefficients as `mcts_cpp.SearchParams`."""

    discount: float
    pb_c_init: float = 1.25
    pb_c_base: float = 19652.0
    value_delta_max: float = 0.01
    value_prefix_horizon: int = 5
    use_value_prefix: bool = True
    root_exploration_fraction: float = 0.25
    normalize_q: bool = True
    algorithm: str = "puct"
    unvisited_q: str = "mean_q"
    known_q_bounds: tuple[float, float] | None = None
    root_dirichlet_alpha: float = 0.3
    max_considered_actions: int = 16
    maxvisit_init: float = 50.0
    value_scale: float = 0.1
    gumbel_scale: float = 1.0
    gumbel_q_range: str = "node"
    num_players: int = 1
    root_visit_has_value: bool = True
    exploration_counts_expansion: bool = True
    recomputed_bounds: bool = False
    stale_prefix_bounds: bool = False


class RootNoise(NamedTuple):
    """What disturbs the root: numbers of the caller's, or drawn from the tree's own sequence."""

    given: NDArray[np.float32] | None = None  # [A]
    is_drawn: bool = False


NO_NOISE = RootNoise()


class NetworkOutput(NamedTuple):
    """What the network says about one node."""

    value_prefix: np.float32
    value: np.float32
    policy_logits: NDArray[np.float32]  # [A]


@dataclass
class Node:
    """One expanded node."""

    index: int  # place among the tree's nodes, parents first; 0 = root
    parent: "Node | None"
    depth: int
    value_prefix: np.float32
    reward: np.float32
    network_value: np.float32
    prior: NDArray[np.float32]  # [A]
    is_legal: NDArray[np.bool_]  # [A]
    phase: int = 0  # steps since the running sum of rewards restarted, modulo the horizon
    value_sum: np.float32 = field(default_factory=lambda: F32(0))
    visit_count: int = 0
    children: dict[int, "Node"] = field(default_factory=dict)  # by action
    range_at_change: np.float32 = field(default_factory=lambda: F32(0))  # Gumbel: of the tree's Q

    def child_visits(self) -> NDArray[np.int32]:
        """Return the visits of all actions, [A]."""
        visits = np.zeros(len(self.prior), np.int32)
        for action, child in self.children.items():
            visits[action] = child.visit_count
        return visits

    def value(self) -> np.float32:
        """Return the mean of the returns seen."""
        return self.value_sum / F32(self.visit_count)

    def is_reset_node(self) -> bool:
        """Return whether the running sum of rewards restarts below this node."""
        return self.phase == 0


class ReferenceSearch:
    """One tree; `search` runs it against a network given as a function."""

    def __init__(self, params: ReferenceParams, seed: int) -> None:
        self.params = params
        self.gamma = F32(-params.discount if params.num_players == 2 else params.discount)
        self.leaves: list[tuple[int, int, bool]] = []  # parent node, action, resets_prefix
        self.nodes: list[Node] = []  # by index
        self.kept: list[Node] = []  # what the next search may start from; the first is its root
        self.visits_before: NDArray[np.int32] = np.zeros(0, np.int32)  # [A] of the root's actions
        self._ties = CounterRandom(seed)
        self.noise_numbers = CounterRandom(mixed_bits(seed ^ 0xD1B54A32D192ED03))
        self._forget_bounds()

    def search(
        self,
        root_output: NetworkOutput,
        network: Callable[[int, int], NetworkOutput],
        num_simulations: int,
        *,
        noise: RootNoise = NO_NOISE,
        is_legal: NDArray[np.bool_] | None = None,
        to_play: int | None = None,
        reuse: bool = False,
    ) -> Node:
        """Return the root after all simulations; the network gets (parent node, action).

        With ``to_play`` the network's numbers are player 0's, and ``to_play`` moves at the root;
        without, they are those of whoever moves.
        """
        root = self._make_root(self._as_mover_sees(root_output, 0, to_play), noise, is_legal)
        self.nodes = [root]
        if reuse and self.kept:
            self._take_over_kept_nodes(root)
        else:
            self._forget_bounds()
        self._see_values([root])
        self.kept = []
        self.visits_before = root.child_visits()
        for index in range(len(self.nodes), len(self.nodes) + num_simulations):
            parent, action = self._select(root)
            output = self._as_mover_sees(network(parent.index, action), parent.depth + 1, to_play)
            leaf = self._expand(parent, action, index, output)
            self.nodes.append(leaf)
            self.leaves.append((parent.index, action, leaf.is_reset_node()))
            self._see_values([leaf])
            self._backup(leaf, output.value)
            if self.params.stale_prefix_bounds:
                self._recompute_bounds_with_stale_prefixes(root)
            elif self.params.recomputed_bounds:
                self._forget_bounds()
                for node in self.nodes[1:]:
                    self._widen_bounds(self.q(node))
        return root

    def q(self, child: Node) -> np.float32:
        """Return the value of the step into a node, seen from its parent."""
        return child.reward + self.gamma * child.value()

    def action_weights(self, root: Node) -> NDArray[np.float32]:
        """Return the policy that the search recommends, [A]."""
        return root.child_visits().astype(F32) / F32(root.visit_count - 1)

    def best_action(self, root: Node) -> int:
        """Return the action that the search recommends."""
        return int(root.child_visits().argmax())

    def _take_over_kept_nodes(self, root: Node) -> None:
        """Give a fresh root the children, visits and returns of the kept one."""
        old, *others = self.kept
        root.children, root.value_sum = old.children, old.value_sum
        root.visit_count = old.visit_count
        for child in root.children.values():
            child.parent = root
        self.nodes += others
        self._forget_bounds()
        for node in others:
            self._widen_bounds(self.q(node))

    def _forget_bounds(self) -> None:
        low, high = self.params.known_q_bounds or (math.inf, -math.inf)
        self.lowest_q, self.highest_q = F32(low), F32(high)

    def _as_mover_sees(
        self, output: NetworkOutput, depth: int, to_play: int | None
    ) -> NetworkOutput:
        """Turn player 0's numbers into the mover's; who acted is the mover one step above."""
        if to_play is None:
            return output
        sign = F32(1) if (to_play + depth) % 2 == 0 else F32(-1)
        return NetworkOutput(-sign * output.value_prefix, sign * output.value, output.policy_logits)

    def _make_root(
        self, output: NetworkOutput, noise: RootNoise, is_legal: NDArray[np.bool_] | None
    ) -> Node:
        if is_legal is None:
            is_legal = np.ones(len(output.policy_logits), dtype=np.bool_)
        prior = softmax(output.policy_logits, is_legal)
        given = noise.given
        if noise.is_drawn:
            given = self.noise_numbers.dirichlet(self.params.root_dirichlet_alpha, is_legal)
        if given is not None:
            legal_noise = np.where(is_legal, given, F32(0))
            fraction = F32(self.params.root_exploration_fraction)
            prior = (F32(1) - fraction) * prior + fraction * (
                legal_noise / sum_in_lanes(legal_noise)
            )
        root = Node(0, None, 0, F32(0), F32(0), output.value, prior, is_legal)
        root.value_sum = output.value if self.params.root_visit_has_value else F32(0)
        root.visit_count = 1
        return root

    def _select(self, root: Node) -> tuple[Node, int]:
        node, unvisited_q = root, self._q_of_unvisited(root, None)
        while True:
            scores = {
                action: self._score(node, action, unvisited_q)
                for action in range(len(node.prior))
                if node.is_legal[action]
            }
            highest = max(scores.values())
            action = self._ties.choose([a for a, score in scores.items() if score == highest])
            if action not in node.children:
                return node, action
            node = node.children[action]
            unvisited_q = self._q_of_unvisited(node, unvisited_q)

    def _q_of_unvisited(self, node: Node, mean_at_parent: np.float32 | None) -> np.float32:
        if self.params.unvisited_q == "parent_value":
            return node.value()
        qs = [
            self.q(node.children[action]) if action in node.children else F32(0)
            for action in range(len(node.prior))
        ]
        num_visited = F32(len(node.children))
        if mean_at_parent is not None:
            sign = F32(-1) if self.params.num_players == 2 else F32(1)
            return (sign * mean_at_parent + sum_in_lanes(qs)) / (F32(1) + num_visited)
        return sum_in_lanes(qs) / num_visited if node.children else F32(0)

    def _score(self, node: Node, action: int, unvisited_q: np.float32) -> np.float32:
        child = node.children.get(action)
        total = node.visit_count - (0 if self.params.exploration_counts_expansion else 1)
        base = self.params.pb_c_base
        c = math.log((total + base + 1) / base) + self.params.pb_c_init
        weight = node.prior[action] / F32(1 + (child.visit_count if child else 0))
        exploration: np.float32 = weight * F32(c * math.sqrt(total))
        if child is None and self.params.unvisited_q == "zero":  # MuZero's pseudocode
            return exploration
        return exploration + self._normalised(self.q(child) if child else unvisited_q)

    def _normalised(self, q: np.float32) -> np.float32:
        if not self.params.normalize_q:
            return q
        if self.highest_q > self.lowest_q:
            span = max(self.highest_q - self.lowest_q, F32(self.params.value_delta_max))
            q = (q - self.lowest_q) * (F32(1) / span)
        return min(max(q, F32(0)), F32(1))

    def _expand(self, parent: Node, action: int, index: int, output: NetworkOutput) -> Node:
        reward = output.value_prefix
        if self.params.use_value_prefix and not parent.is_reset_node():
            reward = output.value_prefix - parent.value_prefix
        is_legal = np.ones(len(parent.prior), dtype=np.bool_)
        prior = softmax(output.policy_logits, is_legal)
        depth, prefix = parent.depth + 1, output.value_prefix
        phase = (parent.phase + 1) % self.params.value_prefix_horizon
        leaf = Node(index, parent, depth, prefix, reward, output.value, prior, is_legal, phase)
        parent.children[action] = leaf
        return leaf

    def _backup(self, leaf: Node, value: np.float32) -> None:
        discounted_return = value
        node = leaf
        while True:
            node.value_sum = node.value_sum + discounted_return
            node.visit_count += 1
            if node.parent is None:
                return
            self._node_changed(node)
            if not (self.params.recomputed_bounds or self.params.stale_prefix_bounds):
                self._widen_bounds(self.q(node))
            discounted_return = node.reward + self.gamma * discounted_return
            node = node.parent

    def _see_values(self, nodes: list[Node]) -> None:
        """Take note of the network's values of new nodes; Gumbel's search does."""

    def _node_changed(self, node: Node) -> None:
        """Take note of a node below the root with a new visit; Gumbel's search does."""

    def _widen_bounds(self, q: np.float32) -> None:
        self.lowest_q = min(self.lowest_q, q)
        self.highest_q = max(self.highest_q, q)

    def _recompute_bounds_with_stale_prefixes(self, root: Node) -> None:
        """Repeat the original's mistake: prefixes of the node met before, not of the parent."""
        self._forget_bounds()
        stack, before = [root], root
        while stack:
            node = stack.pop()
            if node is not root:
                reward = node.reward
                if self.params.use_value_prefix:
                    is_difference = not before.is_reset_node()
                    reward = node.value_prefix
                    if is_difference:
                        reward = node.value_prefix - before.value_prefix
                self._widen_bounds(reward + self.gamma * node.value())
            stack += [node.children[action] for action in sorted(node.children)]
            before = node

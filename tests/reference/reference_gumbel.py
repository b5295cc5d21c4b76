"""Gumbel MuZero in slow Python: the truth for `mcts_cpp` with `algorithm="gumbel"`.

Used by tests only. What differs from the PUCT reference is how actions are chosen; expansion and
backup are its.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tests.reference.reference_mcts import NetworkOutput, Node, ReferenceSearch, RootNoise
from tests.reference.reference_numbers import exp_of_non_positive, sum_in_lanes

F32 = np.float32


def considered_visits(num_considered: int, num_simulations: int) -> list[int]:
    """Return sequential halving as the visits that each simulation's root action must have."""
    if num_considered <= 1:
        return list(range(num_simulations))
    num_phases = math.ceil(math.log2(num_considered))
    visits, num_left, sequence = [0] * num_considered, num_considered, list[int]()
    while len(sequence) < num_simulations:
        for _ in range(max(1, num_simulations // (num_phases * num_left))):
            sequence += visits[:num_left]
            visits[:num_left] = [n + 1 for n in visits[:num_left]]
        num_left = max(2, num_left // 2)
    return sequence[:num_simulations]


class ReferenceGumbelSearch(ReferenceSearch):
    """One tree."""

    def search(self, root_output, network, num_simulations, **root):  # type: ignore[no-untyped-def]
        """Return the root after all simulations."""
        self._num_simulations = num_simulations
        return super().search(root_output, network, num_simulations, **root)

    def action_weights(self, root: Node) -> NDArray[np.float32]:
        """Return the improved policy, [A]."""
        return self._improved_policy(root)

    def best_action(self, root: Node) -> int:
        """Return the action with the best score among those with most visits."""
        return self._root_action(root, int((root.child_visits() - self.visits_before).max()))

    def _make_root(
        self, output: NetworkOutput, noise: RootNoise, is_legal: NDArray[np.bool_] | None
    ) -> Node:
        root = super()._make_root(output, RootNoise(), is_legal)
        num_actions = len(root.prior)
        gumbel = np.zeros(num_actions, F32) if noise.given is None else noise.given
        if noise.is_drawn:
            gumbel = self.noise_numbers.gumbel(self.params.gumbel_scale, num_actions)
        logits = output.policy_logits
        self._root_scores = gumbel + (logits - logits[root.is_legal].max())
        num_considered = min(self.params.max_considered_actions, int(root.is_legal.sum()))
        self._considered_visits = considered_visits(num_considered, self._num_simulations)
        return root

    def _take_over_kept_nodes(self, root: Node) -> None:
        super()._take_over_kept_nodes(root)
        self._see_values(self.kept)
        for node in self.kept[1:]:
            self._node_changed(node)

    def _see_values(self, nodes: list[Node]) -> None:
        for node in nodes:
            self._widen_bounds(node.network_value)

    def _node_changed(self, node: Node) -> None:
        node.range_at_change = self._range_of_tree()

    def _range_of_tree(self) -> np.float32:
        return max(self.highest_q - self.lowest_q, F32(self.params.value_delta_max))

    def _select(self, root: Node) -> tuple[Node, int]:
        action = self._root_action(
            root, self._considered_visits[root.visit_count - 1 - self.visits_before.sum()]
        )
        node = root
        while action in node.children:
            node = node.children[action]
            action = self._interior_action(node)
        return node, action

    def _root_action(self, root: Node, visits: int) -> int:
        scores = np.maximum(F32(-1e9), self._root_scores + self._completed_q(root))
        is_considered = root.is_legal & (root.child_visits() - self.visits_before == visits)
        return int(np.where(is_considered, scores, -math.inf).argmax())

    def _interior_action(self, node: Node) -> int:
        weights = self._unscaled_improved_policy(node)
        per_visit = sum_in_lanes(weights) * (F32(1) / F32(node.visit_count))
        per_visit = max(per_visit, np.finfo(F32).tiny)
        return int((weights - node.child_visits().astype(F32) * per_visit).argmax())

    def _improved_policy(self, node: Node) -> NDArray[np.float32]:
        weights = self._unscaled_improved_policy(node)
        return weights / sum_in_lanes(weights)

    def _unscaled_improved_policy(self, node: Node) -> NDArray[np.float32]:
        completed_q = self._completed_q(node)
        return node.prior * exp_of_non_positive(completed_q - completed_q.max())

    def _completed_q(self, node: Node) -> NDArray[np.float32]:
        unvisited_q = self._q_of_unvisited_by_mixing(node)
        q = np.array(
            [
                self.q(node.children[action]) if action in node.children else unvisited_q
                for action in range(len(node.prior))
            ]
        )
        most_visits = F32(node.child_visits().max())
        scale = (F32(self.params.maxvisit_init) + most_visits) * F32(self.params.value_scale)
        if self.params.normalize_q and self.params.gumbel_q_range == "tree":
            scale = scale / (self._range_of_tree() if node.index == 0 else node.range_at_change)
        elif self.params.normalize_q:
            scale = scale / max(q.max() - q.min(), F32(1e-8))
        return (q - q.min()) * scale

    def _q_of_unvisited_by_mixing(self, node: Node) -> np.float32:
        if not node.children:
            return node.network_value
        prior = np.maximum(node.prior, np.finfo(F32).tiny)
        is_visited = [action in node.children for action in range(len(prior))]
        weighted_q = [
            prior[action] * self.q(node.children[action]) if visited else F32(0)
            for action, visited in enumerate(is_visited)
        ]
        prior_sum = sum_in_lanes(np.where(is_visited, prior, F32(0)))
        num_visits = F32(node.child_visits().sum())
        mean_q = sum_in_lanes(weighted_q) / prior_sum
        return (node.network_value + num_visits * mean_q) / (num_visits + F32(1))

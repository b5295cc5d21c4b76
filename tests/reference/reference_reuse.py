"""Root reuse in slow Python: the truth for `TreeBatch.advance`.

Used by tests only. The next `search` of the same object, with ``reuse``, starts from what is kept.
"""

import numpy as np
from numpy.typing import NDArray

from tests.reference.reference_mcts import Node, ReferenceSearch

F32 = np.float32


def advance(
    search: ReferenceSearch, action: int, is_legal: NDArray[np.bool_] | None, most_nodes: int
) -> list[int]:
    """Keep the subtree of a root action; return its nodes' indices until now, root first."""
    root = search.nodes[0].children.get(action)
    search.kept = [] if root is None else [root]
    if root is None:
        return []
    root.parent, root.depth = None, 0
    for node in search.nodes[root.index + 1 :]:
        parent = node.parent
        if parent is None or not any(parent is kept for kept in search.kept):
            continue
        step = next(a for a, child in parent.children.items() if child is node)
        is_step_legal = parent is not root or is_legal is None or is_legal[step]
        if not is_step_legal or len(search.kept) > most_nodes:
            _drop(search, parent, step)
            continue
        node.depth = parent.depth + 1
        search.kept.append(node)
    old_indices = [node.index for node in search.kept]
    for index, node in enumerate(search.kept):
        node.index = index
    return old_indices


def _drop(search: ReferenceSearch, parent: Node, action: int) -> None:
    """Take a child out of the tree, and its visits and returns out of its ancestors."""
    child = parent.children.pop(action)
    num_visits = F32(child.visit_count)
    returns = num_visits * child.reward + search.gamma * child.value_sum
    node: Node | None = parent
    while node is not None:
        node.visit_count -= child.visit_count
        node.value_sum = node.value_sum - returns
        returns = num_visits * node.reward + search.gamma * returns
        node = node.parent

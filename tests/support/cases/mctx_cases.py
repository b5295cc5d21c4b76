"""Searches that mctx and `mcts_cpp` both run: a model in tables, and the settings of each search.

Used by `tests/golden/make_mctx_golden.py`, which runs mctx, and by the test of agreement. Knows
neither library.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_STATES = 509


@dataclass(frozen=True)
class MctxCase:
    """One batched search."""

    name: str
    num_actions: int
    num_simulations: int
    algorithm: str  # "puct" or "gumbel"
    num_trees: int = 8
    seed: int = 0
    discount: float = 0.9
    has_illegal: bool = False
    num_players: int = 1
    max_considered_actions: int = 16
    maxvisit_init: float = 50.0
    value_scale: float = 0.1
    rescale_values: bool = True
    gumbel_scale: float = 1.0


# Bounds of Q for PUCT: rewards are in [0, 0.2], values in [0, 1], the discount is 0.9.
LOWEST_Q, HIGHEST_Q = 0.0, 3.0

CASES = (
    MctxCase("puct", 6, 50, "puct"),
    MctxCase("puct-illegal", 18, 32, "puct", seed=1, has_illegal=True),
    MctxCase("puct-two-actions", 2, 100, "puct", seed=2),
    MctxCase("gumbel-few", 6, 16, "gumbel", seed=3),
    MctxCase("gumbel", 6, 50, "gumbel", seed=4),
    MctxCase("gumbel-large", 18, 200, "gumbel", seed=5, num_trees=4),
    MctxCase("gumbel-illegal", 18, 50, "gumbel", seed=6, has_illegal=True),
    MctxCase("gumbel-two-players", 9, 64, "gumbel", seed=7, num_players=2),
    MctxCase("gumbel-four-considered", 18, 16, "gumbel", seed=8, max_considered_actions=4),
    MctxCase("gumbel-one-considered", 5, 20, "gumbel", seed=9, max_considered_actions=1),
    MctxCase("gumbel-without-chance", 6, 30, "gumbel", seed=10, gumbel_scale=0.0),
    MctxCase("gumbel-raw-values", 6, 50, "gumbel", seed=11, rescale_values=False, value_scale=1.0),
)


class TabularModel:
    """A deterministic model of few states; state s is also the root of tree s."""

    def __init__(self, case: MctxCase) -> None:
        # The legacy generator: its sequences are frozen.
        random = np.random.RandomState(case.seed)
        shape = (NUM_STATES, case.num_actions)
        self.logits: NDArray[np.float32] = random.randn(*shape).astype(np.float32)
        self.values: NDArray[np.float32] = random.rand(NUM_STATES).astype(np.float32)
        self.rewards: NDArray[np.float32] = (0.2 * random.rand(*shape)).astype(np.float32)
        self.next_states: NDArray[np.int32] = random.randint(NUM_STATES, size=shape, dtype=np.int32)
        is_legal = random.rand(case.num_trees, case.num_actions) < 0.6
        is_legal[:, 0] = True
        self.legal_actions: NDArray[np.bool_] | None = is_legal if case.has_illegal else None
        self.root_states: NDArray[np.int32] = np.arange(case.num_trees, dtype=np.int32)

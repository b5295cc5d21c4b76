"""Random search cases, and the two ways to run them: in `mcts_cpp` and in the Python reference.

Used by the search tests only. The network of a case is a function of (seed, tree, node, action), so
that both searches get the same answers if and only if they grow the same trees.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from mcts_cpp import SearchParams, TreeBatch
from tests.reference.reference_gumbel import ReferenceGumbelSearch
from tests.reference.reference_mcts import (
    NetworkOutput,
    Node,
    ReferenceParams,
    ReferenceSearch,
    RootNoise,
)

F32 = np.float32


@dataclass(frozen=True)
class Case:
    """One batched search: sizes, coefficients and the kind of numbers its network gives."""

    params: ReferenceParams = field(default_factory=lambda: ReferenceParams(discount=0.997))
    num_trees: int = 3
    num_actions: int = 6
    num_simulations: int = 30
    seed: int = 0
    has_noise: bool = False
    draws_noise: bool = False
    has_to_play: bool = False  # only with two players
    has_illegal: bool = False
    logit_scale: float = 1.0
    value_scale: float = 1.0
    reward_scale: float = 1.0  # times value_scale
    num_levels: int | None = None  # rounds the network's numbers, so that scores tie; None: no


@dataclass(frozen=True)
class Result:
    """Everything the extension tells about a search."""

    leaves: NDArray[np.int32]  # [M, B, 3] parent node, action, resets_prefix
    visit_counts: NDArray[np.int32]  # [B, A]
    child_q: NDArray[np.float32]  # [B, A]
    action_weights: NDArray[np.float32]  # [B, A]
    best_actions: NDArray[np.int32]  # [B]
    root_values: NDArray[np.float32]  # [B]
    search_depths: NDArray[np.int32]  # [B]


@st.composite
def reference_params(draw: st.DrawFn) -> ReferenceParams:
    """Draw coefficients and switches over their whole range."""
    num_players = draw(st.sampled_from([1, 1, 2]))
    is_gumbel = draw(st.booleans())
    return ReferenceParams(
        discount=draw(st.sampled_from([0.0, 0.9, 0.997, 1.0])),
        pb_c_init=draw(st.sampled_from([0.0, 1.25, 4.0])),
        pb_c_base=draw(st.sampled_from([1.0, 50.0, 19652.0])),
        value_delta_max=draw(st.sampled_from([1e-6, 0.01, 10.0])),
        value_prefix_horizon=draw(st.integers(1, 6)),
        use_value_prefix=num_players == 1 and draw(st.booleans()),
        root_exploration_fraction=draw(st.sampled_from([0.0, 0.25, 1.0])),
        normalize_q=draw(st.booleans()),
        algorithm="gumbel" if is_gumbel else "puct",
        max_considered_actions=draw(st.integers(1, 20)),
        maxvisit_init=draw(st.sampled_from([0.0, 50.0])),
        value_scale=draw(st.sampled_from([0.0, 0.1, 1.0])),
        gumbel_scale=draw(st.sampled_from([0.0, 1.0])),
        gumbel_q_range=draw(st.sampled_from(["node", "tree"])),
        unvisited_q=draw(st.sampled_from(["mean_q", "parent_value", "zero"])),
        known_q_bounds=draw(st.sampled_from([None, (-1.0, 1.0), (0.0, 1e-9)])),
        root_dirichlet_alpha=draw(st.sampled_from([0.03, 0.3, 2.0])),
        num_players=num_players,
        root_visit_has_value=is_gumbel or draw(st.booleans()),
        exploration_counts_expansion=is_gumbel or draw(st.booleans()),
        recomputed_bounds=not is_gumbel and draw(st.booleans()),
        stale_prefix_bounds=not is_gumbel and draw(st.booleans()),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw searches over the whole range of sizes and coefficients."""
    params = draw(reference_params())
    noise = draw(st.sampled_from(["none", "given", "drawn"]))
    return Case(
        params=params,
        num_trees=draw(st.integers(1, 3)),
        num_actions=draw(st.integers(1, 18)),
        num_simulations=draw(st.integers(1, 60)),
        seed=draw(st.integers(0, 2**32)),
        has_noise=noise == "given",
        draws_noise=noise == "drawn",
        has_to_play=params.num_players == 2 and draw(st.booleans()),
        has_illegal=draw(st.booleans()),
        logit_scale=draw(st.sampled_from([0.0, 1.0, 5.0, 200.0])),
        value_scale=draw(st.sampled_from([0.0, 0.1, 1.0, 1e6])),
        num_levels=draw(st.sampled_from([None, 1, 4])),
    )


def network(case: Case, tree: int) -> Callable[[int, int], NetworkOutput]:
    """Return a network whose answers depend on (case, tree, node, action) and on nothing else."""

    def infer(node: int, action: int) -> NetworkOutput:
        rng = np.random.default_rng([case.seed, tree, node, action])
        numbers = rng.normal(size=2 + case.num_actions)
        if case.num_levels is not None:
            numbers = np.round(numbers * case.num_levels) / case.num_levels
        numbers[:2] *= case.value_scale
        numbers[0] *= case.reward_scale
        numbers[2:] *= case.logit_scale
        rounded: NDArray[np.float32] = numbers.astype(F32)
        return NetworkOutput(rounded[0], rounded[1], rounded[2:])

    return infer


def root_arrays(
    case: Case,
) -> tuple[list[NetworkOutput], NDArray[np.float32] | None, NDArray[np.bool_] | None]:
    """Return the root's network outputs, noise [B, A] and legal actions [B, A]."""
    outputs, noise, legal = [], [], []
    for tree in range(case.num_trees):
        outputs.append(network(case, tree)(0, case.num_actions))
        rng = np.random.default_rng([case.seed, tree])
        dirichlet, gumbel = (
            rng.dirichlet([0.3] * case.num_actions),
            rng.gumbel(size=case.num_actions),
        )
        noise.append(gumbel if case.params.algorithm == "gumbel" else dirichlet)
        is_legal = rng.random(case.num_actions) < 0.5
        is_legal[rng.integers(case.num_actions)] = True
        legal.append(is_legal)
    return (
        outputs,
        np.array(noise, dtype=F32) if case.has_noise else None,
        np.array(legal) if case.has_illegal else None,
    )


def to_play_of(case: Case) -> NDArray[np.int32] | None:
    """Return who moves at each root [B], or nothing where the case does not say."""
    return np.arange(case.num_trees, dtype=np.int32) % 2 if case.has_to_play else None


def seeds_of(case: Case) -> NDArray[np.uint64]:
    """Return one seed per tree [B], all 64 bits in use."""
    return np.array(
        [
            np.random.SeedSequence([case.seed, tree]).generate_state(1, np.uint64)[0]
            for tree in range(case.num_trees)
        ]
    )


def make_batch(case: Case, *, num_threads: int = 1) -> TreeBatch:
    """Return fresh trees for a case."""
    return TreeBatch(
        case.num_trees,
        case.num_actions,
        case.num_simulations,
        SearchParams(**asdict(case.params)),
        seeds_of(case),
        num_threads,
    )


def expand_roots(case: Case, batch: TreeBatch) -> None:
    """Expand the roots with the case's arrays."""
    outputs, noise, legal_actions = root_arrays(case)
    batch.expand_roots(
        np.stack([output.policy_logits for output in outputs]),
        np.array([output.value for output in outputs]),
        noise,
        legal_actions,
        to_play_of(case),
        draw_noise=case.draws_noise,
    )


def run_search(case: Case, batch: TreeBatch | None = None) -> Result:
    """Run a whole search in the extension."""
    batch = batch or make_batch(case)
    expand_roots(case, batch)
    networks = [network(case, tree) for tree in range(case.num_trees)]
    parent_node, action, resets_prefix = leaf_buffers(case)
    leaves = []
    for _ in range(case.num_simulations):
        batch.select_leaves(parent_node, action, resets_prefix)
        leaves.append(np.stack([parent_node, action, resets_prefix], axis=-1))
        outputs = [
            infer(int(node), int(a))
            for infer, node, a in zip(networks, parent_node, action, strict=True)
        ]
        batch.backup(
            np.array([output.value_prefix for output in outputs]),
            np.array([output.value for output in outputs]),
            np.stack([output.policy_logits for output in outputs]),
        )
    return read_result(case, batch, np.array(leaves))


def leaf_buffers(
    case: Case,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
    """Return parent_node, action and resets_prefix buffers [B]."""
    return (
        np.full(case.num_trees, -1, dtype=np.int32),
        np.full(case.num_trees, -1, dtype=np.int32),
        np.zeros(case.num_trees, dtype=np.bool_),
    )


def read_result(case: Case, batch: TreeBatch, leaves: NDArray[np.int32]) -> Result:
    """Read all results into fresh buffers."""
    result = Result(
        leaves=leaves,
        visit_counts=np.full((case.num_trees, case.num_actions), -1, dtype=np.int32),
        child_q=np.zeros((case.num_trees, case.num_actions), dtype=F32),
        action_weights=np.zeros((case.num_trees, case.num_actions), dtype=F32),
        best_actions=np.full(case.num_trees, -1, dtype=np.int32),
        root_values=np.zeros(case.num_trees, dtype=F32),
        search_depths=np.zeros(case.num_trees, dtype=np.int32),
    )
    batch.visit_counts(result.visit_counts)
    batch.child_q(result.child_q)
    batch.action_weights(result.action_weights)
    batch.best_actions(result.best_actions)
    batch.root_values(result.root_values)
    batch.search_depths(result.search_depths)
    return result


def run_reference(case: Case) -> Result:
    """Run the same search with the Python reference, one tree at a time."""
    outputs, noise, legal_actions = root_arrays(case)
    to_play = to_play_of(case)
    seeds = seeds_of(case)
    kind = ReferenceGumbelSearch if case.params.algorithm == "gumbel" else ReferenceSearch
    searches = [kind(case.params, int(seed)) for seed in seeds]
    roots = [
        search.search(
            outputs[tree],
            network(case, tree),
            case.num_simulations,
            noise=RootNoise(None if noise is None else noise[tree], case.draws_noise),
            is_legal=None if legal_actions is None else legal_actions[tree],
            to_play=None if to_play is None else int(to_play[tree]),
        )
        for tree, search in enumerate(searches)
    ]
    actions = range(case.num_actions)
    pairs = list(zip(searches, roots, strict=True))
    return Result(
        leaves=np.array([search.leaves for search in searches]).swapaxes(0, 1),
        visit_counts=np.array([root.child_visits() for root in roots]),
        child_q=np.array(
            [
                [s.q(r.children[a]) if a in r.children else F32(math.nan) for a in actions]
                for s, r in pairs
            ]
        ),
        action_weights=np.array([s.action_weights(r) for s, r in pairs]),
        best_actions=np.array([s.best_action(r) for s, r in pairs]),
        root_values=np.array([root.value() for root in roots]),
        search_depths=np.array([deepest(root) for root in roots]),
    )


def deepest(node: Node) -> int:
    """Return the largest depth in a tree."""
    return max([node.depth, *(deepest(child) for child in node.children.values())])


def assert_identical(got: Result, wanted: Result) -> None:
    """Assert equality without tolerance; NaN equals NaN."""
    np.testing.assert_array_equal(got.leaves, wanted.leaves)
    np.testing.assert_array_equal(got.visit_counts, wanted.visit_counts)
    np.testing.assert_array_equal(got.child_q, wanted.child_q)
    np.testing.assert_array_equal(got.action_weights, wanted.action_weights)
    np.testing.assert_array_equal(got.best_actions, wanted.best_actions)
    np.testing.assert_array_equal(got.root_values, wanted.root_values)
    np.testing.assert_array_equal(got.search_depths, wanted.search_depths)


def searched_alike(got: NDArray[np.int32], wanted: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which of many roots have the same visit counts [B, A], and assert that most have.

    For two ways to compute one network. They differ by rounding, which may decide a near tie, on
    some processor, and with it the rest of that root's tree: one root in ten may differ. A fault
    of indices, buffers or weights shows in all of them.
    """
    assert len(got) >= 20, "of fewer roots one would have to be equal in every case"
    same: NDArray[np.bool_] = (got == wanted).all(axis=1)
    assert same.mean() >= 0.9
    return same

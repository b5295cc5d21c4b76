"""What each switch of the search is for, on searches small enough to know the answer."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mcts_cpp import SearchParams, TreeBatch
from tests.reference.reference_mcts import ReferenceParams
from tests.reference.reference_numbers import CounterRandom
from tests.support.cases.mcts_cases import Case, leaf_buffers, run_search

F32 = np.float32


def make_trees(
    num_trees: int, num_actions: int, num_simulations: int, **params: object
) -> TreeBatch:
    """Return trees with seeds 0, 1, 2, ..."""
    seeds = np.arange(num_trees, dtype=np.uint64)
    search_params = SearchParams(**({"discount": 1.0} | params))  # type: ignore[arg-type]
    return TreeBatch(num_trees, num_actions, num_simulations, search_params, seeds)


def first_actions(
    batch: TreeBatch, logits: NDArray[np.float32], **roots: object
) -> NDArray[np.int32]:
    """Expand the same root in every tree and return the action each tree tries first, [B]."""
    every_logits = np.tile(logits.astype(F32), (batch.num_trees, 1))
    batch.expand_roots(every_logits, np.zeros(batch.num_trees, F32), **roots)  # type: ignore[arg-type]
    parent_node, action, resets_prefix = leaf_buffers(Case(num_trees=batch.num_trees))
    batch.select_leaves(parent_node, action, resets_prefix)
    return action


def test_without_the_expansion_counted_the_first_action_is_uniformly_random() -> None:
    """The original's behaviour: the prior's best action comes first with frequency 1 / A."""
    batch = make_trees(6000, 6, 1, exploration_counts_expansion=False)
    logits = np.array([5, 0, 0, 0, 0, 0])
    counts = np.bincount(first_actions(batch, logits), minlength=6)
    assert (np.abs(counts - 1000) < 5 * 29).all()  # standard deviation 29
    batch = make_trees(50, 6, 1)
    assert (first_actions(batch, logits) == 0).all()


def test_a_root_visit_without_value_pulls_the_root_value_to_zero() -> None:
    """Leaves of 10 give 10 * 50 / 51, as measured with the original."""
    batch = make_trees(1, 2, 50, root_visit_has_value=False)
    ten, logits, root_value = np.full(1, 10, F32), np.zeros((1, 2), F32), np.zeros(1, F32)
    buffers = leaf_buffers(Case(num_trees=1))
    batch.expand_roots(logits, ten)
    for _ in range(50):
        batch.select_leaves(*buffers)
        batch.backup(np.zeros(1, F32), ten, logits)
    batch.root_values(root_value)
    assert root_value[0] == pytest.approx(10 * 50 / 51, rel=1e-6)


def share_of_other_best_actions(**bounds: bool) -> float:
    """Return the share of 300 trees in which a rule for bounds changes the best root action."""
    params = ReferenceParams(discount=0.997)
    cases = (
        Case(params=replace(params, **rule), num_trees=300, num_simulations=50)
        for rule in ({}, bounds)
    )
    usual, other = (run_search(case).best_actions for case in cases)
    return float((usual != other).mean())


def test_rules_for_bounds_change_the_best_action_of_some_trees() -> None:
    """Random values and rewards, 50 simulations, 6 actions: see docs/reference/compat.md."""
    recomputed = share_of_other_best_actions(recomputed_bounds=True)
    stale = share_of_other_best_actions(stale_prefix_bounds=True)
    print(f"other best action: recomputed {recomputed:.1%}, with stale prefixes {stale:.1%}")
    assert 0.05 < recomputed < 0.5
    assert 0.05 < stale < 0.5


@pytest.mark.parametrize(
    ("use_value_prefix", "reward_scale", "is_same"),
    [(True, 0.0, True), (False, 1.0, True), (True, 1.0, False)],
)
def test_stale_prefixes_are_recomputed_bounds_but_for_differences_of_prefixes(
    use_value_prefix: bool, reward_scale: float, is_same: bool
) -> None:
    params = ReferenceParams(discount=0.9, use_value_prefix=use_value_prefix)
    trees = []
    for rule in ({"recomputed_bounds": True}, {"stale_prefix_bounds": True}):
        case = Case(params=replace(params, **rule), num_trees=40, reward_scale=reward_scale)
        trees.append(run_search(replace(case, num_simulations=60)).leaves)
    assert np.array_equal(*trees) == is_same


def play_out(batch: TreeBatch, outcomes: dict[tuple[int, ...], float]) -> None:
    """Search a game decided by its first two moves; outcomes are the beginner's, else 0."""
    moves: dict[int, tuple[int, ...]] = {0: ()}
    buffers = leaf_buffers(Case(num_trees=1))
    for node in range(1, batch.num_simulations + 1):
        batch.select_leaves(*buffers)
        moves[node] = (*moves[int(buffers[0][0])], int(buffers[1][0]))
        sign = 1 if len(moves[node]) % 2 == 0 else -1
        value = sign * outcomes.get(moves[node][:2], 0.0)
        batch.backup(np.zeros(1, F32), np.full(1, value, F32), np.zeros((1, 2), F32))


# After moves (0, 1) the beginner has lost. So the beginner must play 1, where the opponent can do
# nothing; a search that took the opponent's moves for its own would go for (0, 0).
LOSES_AFTER_0_1 = {(0, 1): -1.0, (0, 0): 0.5}


def test_two_players_avoid_what_is_good_for_the_opponent() -> None:
    batch = make_trees(1, 2, 400, num_players=2, use_value_prefix=False)
    batch.expand_roots(np.zeros((1, 2), F32), np.zeros(1, F32))
    play_out(batch, LOSES_AFTER_0_1)
    visits, q = np.zeros((1, 2), np.int32), np.zeros((1, 2), F32)
    batch.visit_counts(visits)
    batch.child_q(q)
    assert visits[0, 1] > 300
    assert q[0, 0] < q[0, 1]


@pytest.mark.parametrize("player", [0, 1])
def test_numbers_of_player_0_give_the_same_search_as_the_movers_numbers(player: int) -> None:
    batch = make_trees(1, 2, 2, num_players=2, use_value_prefix=False)
    results = []
    for to_play, sign in ((None, 1), (np.full(1, player, np.int32), 1 if player == 0 else -1)):
        batch.reset(np.zeros(1, np.uint64))
        values = np.full(1, 0.25 * sign, F32)
        batch.expand_roots(np.array([[9, 0]], F32), values, to_play=to_play)
        buffers = leaf_buffers(Case(num_trees=1))
        # Depth 1: the opponent moves and is 0.5 ahead; the beginner got a reward of 2.
        batch.select_leaves(*buffers)
        opponent = 0.5 if to_play is None else -0.5 * sign
        batch.backup(np.full(1, 2 * sign, F32), np.full(1, opponent, F32), np.zeros((1, 2), F32))
        root_value, q = np.zeros(1, F32), np.zeros((1, 2), F32)
        batch.root_values(root_value)
        batch.child_q(q)
        results.append((float(root_value[0]), float(q[0, 0])))
    assert results[0] == results[1] == ((0.25 + 1.5) / 2, 1.5)


def test_known_bounds_normalise_before_anything_was_seen() -> None:
    """With Q known to lie in [0, 100], a Q of 1 is nearly nothing; unknown, it is the maximum."""
    visits = []
    for bounds in (None, (0.0, 100.0)):
        batch = make_trees(1, 2, 30, known_q_bounds=bounds, unvisited_q="zero", discount=0.0)
        batch.expand_roots(np.zeros((1, 2), F32), np.zeros(1, F32))
        buffers = leaf_buffers(Case(num_trees=1))
        is_at_root: dict[int, int] = {}
        for node in range(1, 31):
            batch.select_leaves(*buffers)
            parent, action = int(buffers[0][0]), int(buffers[1][0])
            is_at_root[node] = action if parent == 0 else is_at_root[parent]
            reward = 1.0 if parent == 0 and action == 1 else 0.0
            batch.backup(np.full(1, reward, F32), np.zeros(1, F32), np.zeros((1, 2), F32))
        out = np.zeros((1, 2), np.int32)
        batch.visit_counts(out)
        visits.append(out[0].tolist())
    assert visits[0][1] > 20
    assert abs(visits[1][1] - visits[1][0]) <= 2


@pytest.mark.parametrize(("policy", "wanted"), [("zero", 0), ("parent_value", 1), ("mean_q", 0)])
def test_unvisited_q_decides_what_comes_second(policy: str, wanted: int) -> None:
    """A first action worth -1, the lowest Q: of the three, only V(s) makes the unvisited better."""
    batch = make_trees(1, 2, 3, unvisited_q=policy, pb_c_init=0.01, known_q_bounds=(-1.0, 1.0))
    batch.expand_roots(np.array([[3, 0]], F32), np.zeros(1, F32))
    buffers = leaf_buffers(Case(num_trees=1))
    batch.select_leaves(*buffers)
    assert buffers[1][0] == 0
    batch.backup(np.zeros(1, F32), np.full(1, -1, F32), np.zeros((1, 2), F32))
    parents = []
    batch.select_leaves(*buffers)
    parents.append((int(buffers[0][0]), int(buffers[1][0])))
    assert (parents[0] == (0, 1)) == bool(wanted)


def search_with_rewards_near(level: float, policy: str) -> tuple[NDArray[np.int32], list[int], int]:
    """Search where every Q is ``level`` plus one of -1, -7/8, ... 1, and known to be so.

    Returns leaves [M, 2], visit counts and depth. No number is rounded: Q is the reward, because
    the discount is 0, and what is added to ``level`` is a multiple of 1/8.
    """
    num_actions, num_simulations = 4, 60
    bounds = (level - 1.0, level + 1.0)
    batch = make_trees(
        1,
        num_actions,
        num_simulations,
        discount=0.0,
        use_value_prefix=False,
        unvisited_q=policy,
        known_q_bounds=bounds,
    )
    zero = np.zeros(1, F32)
    batch.expand_roots(np.array([[2, 1, 0, -1]], F32), zero)
    buffers, leaves = leaf_buffers(Case(num_trees=1)), []
    for _ in range(num_simulations):
        batch.select_leaves(*buffers)
        node, action = int(buffers[0][0]), int(buffers[1][0])
        leaves.append((node, action))
        rng = np.random.default_rng([node, action])
        reward = np.full(1, level + int(rng.integers(-8, 9)) / 8, F32)
        batch.backup(reward, zero, rng.integers(-2, 3, (1, num_actions)).astype(F32))
    visits, depth = np.zeros((1, num_actions), np.int32), np.zeros(1, np.int32)
    batch.visit_counts(visits)
    batch.search_depths(depth)
    return np.array(leaves, np.int32), visits[0].tolist(), int(depth[0])


@pytest.mark.parametrize("level", [-3.0, -0.5, 0.0, 3.0])
@pytest.mark.parametrize("policy", ["zero", "mean_q"])
def test_only_differences_of_q_count_whether_it_is_negative_mixed_or_positive(
    level: float, policy: str
) -> None:
    """MuZero's unvisited actions add nothing to the prior's score: no level is good or bad."""
    leaves, visits, depth = search_with_rewards_near(level, policy)
    wanted_leaves, wanted_visits, wanted_depth = search_with_rewards_near(1.0, policy)
    np.testing.assert_array_equal(leaves, wanted_leaves)
    assert (visits, depth) == (wanted_visits, wanted_depth)
    assert (visits, depth) == GOLDEN_SEARCHES[policy]


# Of the rules of the paper's pseudocode, by the slow search: visits of the root's actions, depth.
GOLDEN_SEARCHES = {"zero": ([56, 4, 0, 0], 10), "mean_q": ([36, 4, 19, 1], 6)}


def test_drawn_noise_is_dirichlet_and_repeats_with_its_seed() -> None:
    """Uniform prior, whole prior replaced: the first action is the noise's largest share."""
    logits = np.zeros(4)
    batch = make_trees(4000, 4, 1, root_exploration_fraction=1.0, root_dirichlet_alpha=0.3)
    first = first_actions(batch, logits, draw_noise=True)
    assert (np.abs(np.bincount(first, minlength=4) - 1000) < 5 * 28).all()
    second = first_actions(batch, logits, draw_noise=True)
    assert (first != second).any()
    batch.reset(np.arange(4000, dtype=np.uint64))
    np.testing.assert_array_equal(first_actions(batch, logits, draw_noise=True), first)


@pytest.mark.parametrize("alpha", [0.03, 0.3, 3.0])
def test_the_reference_draws_the_same_distribution_as_numpy(alpha: float) -> None:
    random = CounterRandom(5)
    is_legal = np.array([True, True, False, True])
    samples = np.array([random.dirichlet(alpha, is_legal) for _ in range(4000)])
    wanted = np.random.default_rng(0).dirichlet([alpha] * 3, size=200_000)
    assert (samples[:, 2] == 0).all()
    np.testing.assert_allclose(samples.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(samples[:, [0, 1, 3]].mean(axis=0), 1 / 3, atol=0.04)
    levels = np.linspace(0.05, 0.95, 10)
    got_quantiles = (samples[:, 0, None] < levels).mean(axis=0)
    np.testing.assert_allclose(got_quantiles, (wanted[:, 0, None] < levels).mean(axis=0), atol=0.04)


def test_noise_leaves_the_sequence_of_ties_alone() -> None:
    params = ReferenceParams(discount=0.9, root_exploration_fraction=0.0)
    case = Case(params=params, logit_scale=0.0, value_scale=0.0)
    with_noise = Case(params=params, logit_scale=0.0, value_scale=0.0, draws_noise=True)
    np.testing.assert_array_equal(run_search(case).leaves, run_search(with_noise).leaves)


@pytest.mark.parametrize(
    ("num_actions", "num_simulations", "block"), [(6, 50, 128), (18, 50, 384), (1024, 3, 14400)]
)
def test_memory_per_tree_is_what_the_formula_says(
    num_actions: int, num_simulations: int, block: int
) -> None:
    batch = make_trees(2, num_actions, num_simulations)
    nodes = num_simulations + 1
    rest = 4 * nodes + 4 * num_simulations
    wanted = nodes * block + -(-rest // 64) * 64
    assert 0 < batch.bytes_per_tree - wanted <= 128


def test_gumbel_adds_the_next_steps_and_the_roots_scores() -> None:
    for num_actions, num_simulations in ((6, 50), (18, 47)):
        puct = make_trees(2, num_actions, num_simulations).bytes_per_tree
        gumbel = make_trees(2, num_actions, num_simulations, algorithm="gumbel").bytes_per_tree
        rest = 8 * num_simulations + 4
        more = 4 * (num_simulations + 1) + 4 * (-(-num_actions // 8) * 8)
        assert gumbel - puct == (-(-(rest + more) // 64) - -(-rest // 64)) * 64


def test_memory_is_at_most_twice_the_statistics() -> None:
    """Prior, visits and Q as float32 and a child index as int16, per action and node."""
    statistics = 51 * 18 * (3 * 4 + 2)
    assert make_trees(1, 18, 50).bytes_per_tree <= 2 * statistics

"""The C++ search against the slow Python one, bit by bit, and its promises one by one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from mcts_cpp import SearchParams, TreeBatch
from tests.reference.reference_numbers import exp_of_non_positive, softmax
from tests.support.cases.mcts_cases import (
    Case,
    assert_identical,
    cases,
    leaf_buffers,
    make_batch,
    root_arrays,
    run_reference,
    run_search,
    seeds_of,
)

F32 = np.float32


@pytest.mark.slow
@settings(max_examples=250, deadline=None, derandomize=True)
@given(case=cases())
def test_search_equals_the_reference_bit_by_bit(case: Case) -> None:
    assert_identical(run_search(case), run_reference(case))


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, derandomize=True)
@given(case=cases())
def test_search_equals_the_reference_in_thousands_of_cases(case: Case) -> None:
    assert_identical(run_search(case), run_reference(case))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(case=cases())
def test_visit_counts_sum_to_simulations_and_avoid_illegal_actions(case: Case) -> None:
    _, _, legal_actions = root_arrays(case)
    result = run_search(case)
    assert (result.visit_counts.sum(axis=1) == case.num_simulations).all()
    assert (np.isnan(result.child_q) == (result.visit_counts == 0)).all()
    if legal_actions is not None:
        assert (result.visit_counts[~legal_actions] == 0).all()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(case=cases())
def test_trees_of_a_batch_are_independent(case: Case) -> None:
    whole = run_search(replace(case, num_trees=4))
    first = run_search(replace(case, num_trees=1))
    np.testing.assert_array_equal(whole.leaves[:, :1], first.leaves)
    np.testing.assert_array_equal(whole.root_values[:1], first.root_values)


def test_same_seeds_give_the_same_search_and_other_seeds_another() -> None:
    case = Case(logit_scale=0.0, value_scale=0.0)
    batch = make_batch(case)
    first = run_search(case, batch)
    continued = run_search(case, batch)
    batch.reset(seeds_of(case))
    assert_identical(run_search(case, batch), first)
    assert (continued.leaves != first.leaves).any()


def test_a_reused_batch_forgets_the_earlier_search() -> None:
    case = Case(has_noise=True)
    # Deeper, with wider bounds and other actions; neither search meets a tie.
    other = replace(case, seed=7, has_illegal=True, value_scale=100.0, logit_scale=200.0)
    batch = make_batch(case)
    assert run_search(other, batch).search_depths.min() > run_search(case).search_depths.max()
    assert_identical(run_search(case, batch), run_search(case))


def test_exactly_equal_scores_are_chosen_uniformly() -> None:
    case = Case(num_trees=6000, num_actions=6, num_simulations=1)
    batch = make_batch(case)
    batch.expand_roots(np.zeros((6000, 6), dtype=F32), np.zeros(6000, dtype=F32))
    parent_node, action, resets_prefix = leaf_buffers(case)
    batch.select_leaves(parent_node, action, resets_prefix)
    counts = np.bincount(action, minlength=6)
    # 1000 expected each; standard deviation 29.
    assert (np.abs(counts - 1000) < 5 * 29).all()


def test_first_descent_follows_the_prior() -> None:
    case = Case(num_trees=64, num_simulations=1)
    outputs, _, _ = root_arrays(case)
    result = run_search(case)
    wanted = [int(output.policy_logits.argmax()) for output in outputs]
    assert result.leaves[0, :, 1].tolist() == wanted


def test_constant_values_give_that_root_value() -> None:
    batch = TreeBatch(1, 2, 50, SearchParams(discount=1.0), np.zeros(1, dtype=np.uint64))
    ten = np.full(1, 10.0, dtype=F32)
    logits, root_value = np.zeros((1, 2), dtype=F32), np.zeros(1, dtype=F32)
    parent_node, action, resets_prefix = leaf_buffers(Case(num_trees=1))
    batch.expand_roots(logits, ten)
    for _ in range(50):
        batch.select_leaves(parent_node, action, resets_prefix)
        batch.backup(np.zeros(1, dtype=F32), ten, logits)
    batch.root_values(root_value)
    assert root_value[0] == 10.0


@pytest.mark.parametrize(
    ("horizon", "wanted"),
    # One action: a chain with prefixes 1, 3, 6, 10. Rewards are their differences, restarting
    # below depths that are multiples of the horizon. The root value is the mean of all returns.
    [(5, [1, 2, 3, 4]), (2, [1, 2, 6, 4]), (1, [1, 3, 6, 10])],
)
def test_rewards_are_prefix_differences_that_restart(horizon: int, wanted: list[int]) -> None:
    params = SearchParams(discount=1.0, value_prefix_horizon=horizon)
    batch = TreeBatch(1, 1, 4, params, np.zeros(1, dtype=np.uint64))
    zero, logits = np.zeros(1, dtype=F32), np.zeros((1, 1), dtype=F32)
    parent_node, action, resets_prefix = leaf_buffers(Case(num_trees=1))
    resets = []
    batch.expand_roots(logits, zero)
    for prefix in (1, 3, 6, 10):
        batch.select_leaves(parent_node, action, resets_prefix)
        resets.append(bool(resets_prefix[0]))
        batch.backup(np.full(1, prefix, dtype=F32), zero, logits)
    root_value = np.zeros(1, dtype=F32)
    batch.root_values(root_value)
    returns = [0, *np.cumsum(wanted).tolist()]
    assert root_value[0] == F32(sum(returns) / 5)
    assert resets == [depth % horizon == 0 for depth in (1, 2, 3, 4)]


def test_exponential_and_softmax_match_double_precision() -> None:
    x = np.linspace(-87, 0, 20_001).astype(F32)
    exact = np.exp(x.astype(np.float64))
    assert np.abs(exp_of_non_positive(x) / exact - 1).max() < 2e-7
    logits = np.array([0.3, -1.0, 2.0, 80.0, -8.0, 7.0], dtype=F32)
    is_legal = np.array([True, True, True, False, True, True])
    exps = np.where(is_legal, np.exp(logits.astype(np.float64) - 7.0), 0.0)
    np.testing.assert_allclose(softmax(logits, is_legal), exps / exps.sum(), rtol=1e-6, atol=0)

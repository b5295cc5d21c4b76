"""Gumbel MuZero: sampling without replacement, halving, and the improved policy."""

from collections import Counter

import numpy as np
import pytest

from mcts_cpp import SearchParams, TreeBatch
from tests.reference.reference_gumbel import considered_visits
from tests.reference.reference_mcts import ReferenceParams
from tests.reference.reference_numbers import softmax
from tests.support.cases.mcts_cases import Case, leaf_buffers, run_search

F32 = np.float32
LOGITS = np.array([1.0, 0.0, -1.0, 0.5], F32)
PRIOR = softmax(LOGITS, np.ones(4, np.bool_))


def make_trees(num_trees: int, num_simulations: int, **params: object) -> TreeBatch:
    search_params = SearchParams(discount=1.0, algorithm="gumbel", **params)  # type: ignore[arg-type]
    seeds = np.arange(num_trees, dtype=np.uint64)
    return TreeBatch(num_trees, 4, num_simulations, search_params, seeds)


def search(batch: TreeBatch, values: list[float], **roots: object) -> tuple[np.ndarray, np.ndarray]:
    """Search with a value per root action; return visits [B, A] and recommended actions [B]."""
    size = batch.num_trees
    logits, zeros = np.tile(LOGITS, (size, 1)), np.zeros(size, F32)
    batch.expand_roots(logits, zeros, **roots)  # type: ignore[arg-type]
    buffers = leaf_buffers(Case(num_trees=size))
    root_actions = np.zeros((batch.num_simulations + 1, size), np.int32)
    for node in range(1, batch.num_simulations + 1):
        batch.select_leaves(*buffers)
        parent, action, _ = buffers
        root_actions[node] = np.where(parent == 0, action, root_actions[parent, np.arange(size)])
        batch.backup(zeros, np.array(values, F32)[root_actions[node]], logits)
    visits, best = np.zeros((size, 4), np.int32), np.zeros(size, np.int32)
    batch.visit_counts(visits)
    batch.best_actions(best)
    return visits, best


def test_one_simulation_samples_the_prior() -> None:
    """The largest of logit + Gumbel is a sample of the softmax."""
    _, best = search(make_trees(8000, 1), [0, 0, 0, 0], draw_noise=True)
    share = np.bincount(best, minlength=4) / 8000
    np.testing.assert_allclose(share, PRIOR, atol=5 * np.sqrt(0.25 / 8000))


def test_two_simulations_sample_without_replacement() -> None:
    visits, _ = search(make_trees(8000, 2, max_considered_actions=2), [0, 0, 0, 0], draw_noise=True)
    assert visits.max() == 1
    pairs = Counter(tuple(np.flatnonzero(row)) for row in visits)
    # Action 0 then 1, or 1 then 0.
    wanted = PRIOR[0] * PRIOR[1] / (1 - PRIOR[0]) + PRIOR[1] * PRIOR[0] / (1 - PRIOR[1])
    assert pairs[0, 1] / 8000 == pytest.approx(wanted, abs=5 * np.sqrt(0.25 / 8000))


def test_without_noise_the_search_is_deterministic_and_follows_the_values() -> None:
    visits, best = search(make_trees(2, 16), [-1, 3, -1, -1])
    assert visits[0].tolist() == visits[1].tolist()
    assert best.tolist() == [1, 1]
    assert visits[0].max() == visits[0, 1] == considered_visits(4, 16)[-1] + 1


def test_given_gumbels_decide_which_actions_are_tried() -> None:
    noise = np.tile(np.array([-50, 0, 50, 0], F32), (3, 1))
    visits, best = search(make_trees(3, 4, max_considered_actions=1), [9, 9, 0, 9], noise=noise)
    assert visits.tolist() == [[0, 0, 4, 0]] * 3
    assert best.tolist() == [2] * 3


def test_the_improved_policy_is_the_softmax_of_logits_and_completed_q() -> None:
    """Values 0 and 1 tried once each, the others complete with the mixed value; scale 0.1 * 51."""
    batch = make_trees(1, 2, max_considered_actions=2)
    noise = np.array([[50, 50, 0, 0]], F32)
    search(batch, [0, 1, 0, 0], noise=noise)
    weights = np.zeros((1, 4), F32)
    batch.action_weights(weights)
    mixed = 2 * PRIOR[1] / (PRIOR[0] + PRIOR[1]) / 3
    completed = 0.1 * 51 * np.array([0, 1, mixed, mixed])
    wanted = np.exp(LOGITS + completed)
    np.testing.assert_allclose(weights[0], wanted / wanted.sum(), rtol=1e-5)


def test_illegal_actions_get_no_weight_and_no_visit() -> None:
    params = ReferenceParams(discount=0.9, algorithm="gumbel")
    result = run_search(Case(params=params, has_illegal=True, num_trees=40, draws_noise=True))
    np.testing.assert_allclose(result.action_weights.sum(axis=1), 1, rtol=1e-5)
    never = result.action_weights == 0
    assert never.any()
    assert (result.visit_counts[never] == 0).all()


def test_a_search_without_simulations_recommends_nothing() -> None:
    batch = make_trees(1, 4)
    batch.expand_roots(LOGITS[None], np.zeros(1, F32))
    with pytest.raises(ValueError, match="got trees without simulations, wanted backup first"):
        batch.action_weights(np.zeros((1, 4), F32))
    with pytest.raises(ValueError, match="got trees without simulations, wanted backup first"):
        batch.best_actions(np.zeros(1, np.int32))

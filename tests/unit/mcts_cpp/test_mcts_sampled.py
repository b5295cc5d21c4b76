"""Sampled actions: the prior's correction, and a search in a space too large to list."""

import math
from dataclasses import replace

import numpy as np
import pytest

from mcts_cpp import SearchParams, TreeBatch, sampled_logits
from tests.reference.reference_numbers import softmax
from tests.support.cases.mcts_cases import Case, leaf_buffers, root_arrays

F32 = np.float32
PI = np.array([0.5, 0.25, 0.125, 0.125])
ALL = np.ones(4, np.bool_)


def test_all_actions_drawn_once_from_a_uniform_proposal_give_the_plain_logits() -> None:
    case = replace(Case(), num_trees=1)
    logits = root_arrays(case)[0][0].policy_logits
    uniform = np.zeros_like(logits)
    np.testing.assert_array_equal(sampled_logits(logits, uniform), logits)


def test_counts_in_proportion_to_the_policy_they_are_drawn_from_give_the_policy() -> None:
    log_pi = np.log(PI).astype(F32)
    counts = np.array([4, 2, 1, 1], np.int32)
    got = sampled_logits(log_pi, log_pi, counts)
    np.testing.assert_allclose(softmax(got, ALL), PI, rtol=1e-6)
    # And drawn once each: beta says they are all alike.
    np.testing.assert_allclose(softmax(sampled_logits(log_pi, log_pi), ALL), 0.25, rtol=1e-6)


@pytest.mark.parametrize("algorithm", ["puct", "gumbel"])
def test_the_search_of_such_samples_is_that_of_the_policy(algorithm: str) -> None:
    log_pi = np.log(PI).astype(F32)
    visits = []
    for logits in (log_pi, sampled_logits(log_pi, log_pi, np.array([4, 2, 1, 1], np.int32))):
        visits.append(search_fixed_rewards(logits, algorithm))
    assert visits[0] == visits[1]


def search_fixed_rewards(logits: np.ndarray, algorithm: str) -> list[int]:
    """Search with the same logits everywhere and rewards that are no round numbers."""
    params = SearchParams(discount=0.9, use_value_prefix=False, algorithm=algorithm)  # type: ignore[arg-type]
    batch = TreeBatch(1, 4, 60, params, np.zeros(1, np.uint64))
    buffers, zero, row = leaf_buffers(Case(num_trees=1)), np.zeros(1, F32), logits[None].copy()
    batch.expand_roots(row, zero)
    for node in range(1, 61):
        batch.select_leaves(*buffers)
        reward = math.sin(3.7 * node + float(buffers[1][0]))
        batch.backup(np.full(1, reward, F32), zero, row)
    visits = np.zeros((1, 4), np.int32)
    batch.visit_counts(visits)
    return visits[0].tolist()


def test_the_correction_is_unbiased() -> None:
    """The mean of count / draws * policy / proposal is the policy, whatever the proposal."""
    rng = np.random.default_rng(0)
    log_pi = np.log(PI).astype(F32)
    log_beta = log_pi / F32(2)
    beta = np.exp(log_beta) / np.exp(log_beta).sum()
    counts = rng.multinomial(8, beta, size=20_000).astype(np.int32)
    logits = sampled_logits(
        np.broadcast_to(log_pi, counts.shape), np.broadcast_to(np.log(beta), counts.shape), counts
    )
    np.testing.assert_allclose((np.exp(logits) / 8).mean(axis=0), PI, atol=0.01)


def test_a_spare_slot_has_no_prior() -> None:
    counts = np.array([2, 0, 1, 1], np.int32)
    got = softmax(sampled_logits(np.zeros(4, F32), np.zeros(4, F32), counts), ALL)
    np.testing.assert_allclose(got, [0.5, 0, 0.25, 0.25], atol=1e-30)


def test_wrong_arrays_are_refused() -> None:
    zeros = np.zeros((2, 3), F32)
    with pytest.raises(ValueError, match=r"log_proposal: got shape \(3,\), wanted \(2, 3\)"):
        sampled_logits(zeros, zeros[0])
    with pytest.raises(ValueError, match="log_policy: got -inf, wanted finite numbers"):
        sampled_logits(zeros - np.inf, zeros)
    with pytest.raises(ValueError, match="counts: got a negative one or none above 0"):
        sampled_logits(zeros, zeros, np.array([[1, 0, 0], [0, 0, 0]], np.int32))


def test_a_search_of_real_numbers_plays_one_that_pays_wherever_one_was_drawn() -> None:
    """Actions are real numbers, drawn from a normal proposal; those within 0.5 of 1 pay."""
    size, slots, simulations = 32, 6, 80
    rng = np.random.default_rng(1)
    params = SearchParams(discount=0.0, use_value_prefix=False)
    trees = TreeBatch(size, slots, simulations, params, np.arange(size, dtype=np.uint64))
    drawn = np.zeros((simulations + 1, size, slots), F32)
    parent, slot, resets = leaf_buffers(Case(num_trees=size))
    rows, zeros = np.arange(size), np.zeros(size, F32)

    def draw(node: int) -> np.ndarray:
        """Policy: normal around 0; proposal: twice as wide."""
        drawn[node] = rng.normal(0.0, 2.0, size=(size, slots))
        return sampled_logits(-(drawn[node] ** 2) / 2, -(drawn[node] ** 2) / 8)

    trees.expand_roots(draw(0), zeros)
    for node in range(1, simulations + 1):
        trees.select_leaves(parent, slot, resets)
        action = drawn[parent, rows, slot]
        trees.backup((np.abs(action - 1) < 0.5).astype(F32), zeros, draw(node))
    best = np.zeros(size, np.int32)
    trees.best_actions(best)
    pays = np.abs(drawn[0] - 1) < 0.5
    assert 0.2 < pays.any(axis=1).mean() < 1
    np.testing.assert_array_equal(pays[rows, best], pays.any(axis=1))

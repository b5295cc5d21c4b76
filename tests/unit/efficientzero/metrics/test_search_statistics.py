"""Search statistics against numbers worked out by hand."""

import math

import numpy as np
import pytest

from efficientzero.metrics.search_statistics import SearchStatistics, log_softmax
from efficientzero.schema import SearchResult


def result(policies, logits, root_values, predicted_values, depths):
    count = len(policies)
    return SearchResult(
        visit_counts=np.ones((count, 2), np.int32),
        policies=np.array(policies, np.float32),
        best_actions=np.zeros(count, np.int32),
        root_values=np.array(root_values, np.float32),
        predicted_values=np.array(predicted_values, np.float32),
        prior_logits=np.array(logits, np.float32),
        search_depths=np.array(depths, np.int32),
        child_q=np.empty((count, 0), np.float32),
        slot_actions=np.empty((count, 0, 0), np.float32),
    )


def test_two_roots_by_hand():
    statistics = SearchStatistics("actor")
    # Prior (1/2, 1/2) and a search sure of action 0; then prior (1/4, 3/4) and visits alike.
    statistics.add(result([[1.0, 0.0]], [[7.0, 7.0]], [3.0], [1.0], [4]))
    statistics.add(result([[0.5, 0.5]], [[0.0, math.log(3.0)]], [1.0], [2.0], [2]))
    kl = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    quarter = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert statistics.take_row() == pytest.approx(
        {
            "actor/search_entropy": math.log(2) / 2,
            "actor/search_prior_kl": (math.log(2) + kl) / 2,
            "actor/search_prior_agreement": 0.5,
            "actor/prior_entropy_share": (1.0 + quarter / math.log(2)) / 2,
            "actor/search_depth": 3.0,
            "actor/value_gain": (2.0 - 1.0) / 2,
            "actor/value_gap": (2.0 + 1.0) / 2,
        },
        rel=1e-6,
    )
    assert statistics.take_row() == {}


def of_priors(priors, legal):
    """Return a result at roots with these priors; illegal actions as searches give them."""
    shape = np.shape(priors)
    logits = np.where(legal, np.log(priors), -1e9).astype(np.float32)
    empty = result(np.full(shape, 1 / shape[1]), logits, *np.zeros((3, shape[0])))
    return empty._replace(visit_counts=np.ones(shape, np.int32))


def test_entropy_of_the_prior_is_over_the_legal_actions_by_hand():
    statistics = SearchStatistics("actor")
    priors = [0.7, 0.2, 0.1]
    # All legal: 0.801819 / ln 3. Without action 2: (7/9, 2/9), 0.529706 / ln 2.
    statistics.add(of_priors([priors], [[True] * 3]))
    assert statistics.take_row()["actor/prior_entropy_share"] == pytest.approx(0.729847, rel=1e-5)
    statistics.add(of_priors([priors], [[True, True, False]]))
    assert statistics.take_row()["actor/prior_entropy_share"] == pytest.approx(0.764204, rel=1e-5)
    # A root with one legal action has no choice, and counts neither above nor below the line.
    statistics.add(of_priors([priors, priors], [[True, True, False], [False, True, False]]))
    assert statistics.take_row()["actor/prior_entropy_share"] == pytest.approx(0.764204, rel=1e-5)
    statistics.add(of_priors([priors], [[False, True, False]]))
    assert "actor/prior_entropy_share" not in statistics.take_row()


def test_searches_of_no_root_make_no_row():
    statistics = SearchStatistics("reanalyzer")
    statistics.add(result(np.zeros((0, 2)), np.zeros((0, 2)), [], [], []))
    assert statistics.take_row() == {}


def test_log_softmax_bears_large_logits():
    logits = np.array([[1e4, 0.0], [-80.0, -80.0]], np.float32)
    np.testing.assert_allclose(log_softmax(logits), [[0, -1e4], [math.log(0.5)] * 2], rtol=1e-6)

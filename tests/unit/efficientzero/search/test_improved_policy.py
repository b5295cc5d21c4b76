"""Improved policies: one root by hand, a second implementation, and what must hold of each rule."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from efficientzero.config import ConfigError, SearchConfig, reads_child_q, validate
from efficientzero.config.fields import Config
from efficientzero.envs import probe_env_spec
from efficientzero.networks import make_network
from efficientzero.schema import Roots, SearchResult
from efficientzero.search import make_planner
from efficientzero.search.improved_policy import (
    completed_q,
    improved_policy,
    mellowmax,
    regularized,
    softmax_q,
)
from mcts_cpp import SearchParams, TreeBatch
from tests.reference import reference_policies
from tests.support.cases.config_cases import changed
from tests.support.fakes import tiny_config

RULES = ("completed_q", "regularized", "softmax_q", "mellowmax")


def result_of(visits, child_q, priors, values):
    """Return a search's result at B roots; NaN in ``child_q`` where there was no visit."""
    visits = np.array(visits, np.int32)
    size = len(visits)
    return SearchResult(
        visit_counts=visits,
        policies=np.zeros(visits.shape, np.float32),
        best_actions=np.zeros(size, np.int32),
        root_values=np.zeros(size, np.float32),
        predicted_values=np.array(values, np.float32),
        prior_logits=np.log(np.array(priors)).astype(np.float32),
        search_depths=np.zeros(size, np.int32),
        child_q=np.array(child_q, np.float32),
        slot_actions=np.empty((size, 0, 0), np.float32),
    )


BY_HAND = result_of([[0, 3, 5]], [[np.nan, 0.5, 1.0]], [[0.5, 0.3, 0.2]], [0.2])


def policies(rule, result, legal=None, **fields):
    improve = improved_policy(SearchConfig(improved_policy=rule, **fields))
    return improve(result, legal)


def test_the_q_of_an_unvisited_action_by_hand():
    np.testing.assert_allclose(completed_q(BY_HAND), [[0.644444, 0.5, 1.0]], atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "fields", "wanted"),
    [
        ("completed_q", {}, [0.047384, 0.005804, 0.946812]),
        ("regularized", {}, [0.200565, 0.088458, 0.710976]),
        ("softmax_q", {"q_temperature": 0.1}, [0.000815, 0.000045, 0.999139]),
        ("mellowmax", {}, [0.168845, 0.092716, 0.738439]),
    ],
)
def test_one_root_by_hand(rule, fields, wanted):
    np.testing.assert_allclose(policies(rule, BY_HAND, **fields), [wanted], atol=1e-6)


def test_two_actions_have_a_closed_form():
    """pi_bar = [0.5 / alpha, 0.5 / (alpha - 1)] with alpha = 1 + sqrt(1/2)."""
    ours = regularized(np.array([[0.0, 1.0]]), np.array([[0.5, 0.5]]), np.ones(1))
    np.testing.assert_allclose(ours, [[0.292893, 0.707107]], atol=1e-6)
    half = math.sqrt(0.5)
    np.testing.assert_allclose(ours, [[0.5 / (1 + half), 0.5 / half]], atol=1e-11)


def random_roots(seed, *, count=200, num_actions=5, simulations=8):
    rng = np.random.default_rng(seed)
    priors = rng.dirichlet(np.full(num_actions, 0.5), count) + 1e-6
    priors /= priors.sum(1, keepdims=True)
    visits = rng.multinomial(simulations, rng.dirichlet(np.ones(num_actions)), count)
    child_q = np.where(visits > 0, rng.normal(scale=3, size=visits.shape), np.nan)
    return result_of(visits, child_q, priors, rng.normal(size=count))


@pytest.mark.parametrize("normalize_q", [True, False])
def test_the_slow_implementation_gives_the_same(normalize_q):
    result = random_roots(0, count=60)
    search = SearchConfig(normalize_q=normalize_q)
    ours = {rule: policies(rule, result, normalize_q=normalize_q) for rule in RULES}
    for row in range(60):
        visits = result.visit_counts[row].tolist()
        priors = reference_policies.softmax(result.prior_logits[row].tolist())
        known = [None if np.isnan(q) else float(q) for q in result.child_q[row]]
        q = reference_policies.complete(visits, known, priors, float(result.predicted_values[row]))
        if normalize_q:
            q = reference_policies.normalise(q, search.value_delta_max)
        scale = (search.gumbel_maxvisit_init + max(visits)) * search.gumbel_value_scale
        num_visits, num_actions = sum(visits), len(visits)
        c = search.pb_c_init + math.log((num_visits + search.pb_c_base + 1) / search.pb_c_base)
        strength = c * math.sqrt(num_visits) / (num_visits + num_actions)
        wanted = {
            "completed_q": reference_policies.softmax(
                [math.log(p) + scale * n for p, n in zip(priors, q, strict=True)]
            ),
            "regularized": reference_policies.regularized(q, priors, strength),
            "softmax_q": reference_policies.softmax([n / search.q_temperature for n in q]),
            "mellowmax": reference_policies.mellowmax(q, search.mellowmax_omega),
        }
        for rule in RULES:
            np.testing.assert_allclose(ours[rule][row], wanted[rule], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_a_policy_sums_to_1_and_improves_on_what_it_starts_from(rule):
    result = random_roots(1)
    found = policies(rule, result)
    np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-6)
    assert (found >= 0).all()
    q = completed_q(result)
    start = np.exp(result.prior_logits) if rule in RULES[:2] else np.full(q.shape, 1 / q.shape[1])
    assert ((found * q).sum(1) - (start * q).sum(1) > -1e-5).all()


def test_the_mean_q_of_the_mellowmax_policy_is_the_mellowmax():
    q = np.random.default_rng(2).normal(scale=2, size=(300, 6))
    mean_q = (mellowmax(q, 3.0) * q).sum(1)
    wanted = [reference_policies.mellowmax_value(row, 3.0) for row in q]
    np.testing.assert_allclose(mean_q, wanted, atol=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_equal_q_leave_the_prior_or_every_action_alike(rule):
    result = result_of([[4, 4, 0]], [[2.0, 2.0, np.nan]], [[0.6, 0.3, 0.1]], [2.0])
    wanted = [0.6, 0.3, 0.1] if rule in RULES[:2] else [1 / 3] * 3
    np.testing.assert_allclose(policies(rule, result), [wanted], atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_an_illegal_action_has_no_share_and_the_others_are_as_without_it(rule):
    result = random_roots(3, count=40, num_actions=3)
    # A fourth action, illegal, with the largest prior, and without a visit.
    with_illegal = result._replace(
        visit_counts=np.insert(result.visit_counts, 1, 0, axis=1),
        prior_logits=np.insert(result.prior_logits, 1, 2.0, axis=1),
        child_q=np.insert(result.child_q, 1, np.nan, axis=1),
    )
    legal = np.tile(np.array([True, False, True, True]), (40, 1))
    found = policies(rule, with_illegal, legal)
    assert not found[:, 1].any()
    np.testing.assert_allclose(
        np.delete(found, 1, axis=1), policies(rule, result), rtol=1e-4, atol=1e-6
    )


def test_large_q_and_sharp_priors_give_finite_numbers():
    result = result_of([[8, 0]], [[1e6, np.nan]], [[1e-30, 1.0]], [-1e6])
    for rule in RULES:
        found = policies(rule, result, normalize_q=False, mellowmax_omega=500.0)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-6)


def test_completed_q_is_the_policy_of_a_gumbel_tree():
    size, num_actions, simulations = 64, 4, 6
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(size, num_actions)).astype(np.float32)
    values = rng.normal(size=size).astype(np.float32)
    params = SearchParams(
        discount=0.9, algorithm="gumbel", use_value_prefix=False, max_considered_actions=2
    )
    trees = TreeBatch(size, num_actions, simulations, params, np.arange(size, dtype=np.uint64))
    trees.expand_roots(logits, values, draw_noise=True)
    rows = (np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.bool_))
    for _ in range(simulations):
        trees.select_leaves(*rows)
        trees.backup(
            *(rng.normal(size=size).astype(np.float32) for _ in range(2)),
            rng.normal(size=(size, num_actions)).astype(np.float32),
        )
    result = result_of(
        np.zeros((size, num_actions)),
        np.zeros((size, num_actions)),
        np.exp(logits.astype(np.float64)),
        values,
    )._replace(prior_logits=logits)
    trees.visit_counts(result.visit_counts)
    trees.child_q(result.child_q)
    trees.action_weights(result.policies)
    assert np.isnan(result.child_q).any(), "some actions are without a visit"
    np.testing.assert_allclose(policies("completed_q", result), result.policies, atol=2e-5)


CONFIG = tiny_config()


def planned(*, legal=None, count=7, **search):
    """Return a search's result with the tiny network."""
    config = dataclasses.replace(CONFIG, search=dataclasses.replace(CONFIG.search, **search))
    spec = probe_env_spec(config.env)
    torch.manual_seed(0)
    planner = make_planner(
        config,
        spec,
        make_network(config, spec, training=False).eval(),
        batch_size=8,
        device=torch.device("cpu"),
        generator=np.random.default_rng(5),
    )
    shape = (count, *spec.observation_shape)
    shown = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    return planner.run(Roots(shown, legal), exploration_noise=True)


@pytest.mark.parametrize("algorithm", ["puct", "gumbel"])
@pytest.mark.parametrize("rule", RULES)
def test_a_search_gives_the_improved_policy_and_is_otherwise_the_same(rule, algorithm):
    legal = np.ones((7, 3), np.bool_)
    legal[2, 1] = legal[4, 0] = False
    plain = planned(legal=legal, algorithm=algorithm)
    found = planned(legal=legal, algorithm=algorithm, improved_policy=rule)
    assert plain.child_q.shape == (7, 0)
    assert (np.isnan(found.child_q) == (found.visit_counts == 0)).all()
    search = dataclasses.replace(CONFIG.search, improved_policy=rule)
    wanted = improved_policy(search)(found, legal)
    np.testing.assert_array_equal(found.policies, wanted)
    assert not found.policies[~legal].any()
    for name in set(SearchResult._fields) - {"policies", "child_q"}:
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))


def test_by_default_nothing_reads_the_q_of_the_roots():
    assert improved_policy(SearchConfig()) is None
    assert not reads_child_q(Config())
    assert reads_child_q(dataclasses.replace(CONFIG, search=SearchConfig(improved_policy=RULES[0])))


def test_softmax_q_is_softer_at_a_higher_temperature():
    q = np.array([[0.0, 1.0]])
    np.testing.assert_allclose(softmax_q(q, 1.0), [[1 / (1 + math.e), math.e / (1 + math.e)]])


@pytest.mark.parametrize("field", ["q_temperature", "mellowmax_omega"])
def test_a_temperature_of_0_is_refused(field):
    config = dataclasses.replace(CONFIG, search=dataclasses.replace(CONFIG.search, **{field: 0.0}))
    with pytest.raises(ConfigError, match=rf"search\.{field}: got 0\.0, wanted more than 0"):
        validate(config)


ONE = {"search.num_simulations": 1}
ONE_IN_REANALYSIS = {"reanalyzer.search_simulations": 1}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (ONE, "search.num_simulations"),
        (ONE | {"reanalyzer.policy_reanalyze_ratio": 1.0}, "search.num_simulations"),
        (ONE | {"reanalyzer.search_simulations": 4}, "search.num_simulations"),
        (ONE_IN_REANALYSIS, "reanalyzer.search_simulations"),
    ],
)
def test_the_visits_of_one_simulation_are_no_policy_to_train_towards(fields, field):
    with pytest.raises(ConfigError, match=rf"{field}: got 1 with search\.algorithm puct, wanted"):
        validate(changed(CONFIG, fields))
    for rule in ("regularized", "completed_q"):
        validate(changed(CONFIG, fields | {"search.improved_policy": rule}))
    validate(changed(CONFIG, fields | {"search.algorithm": "gumbel"}))
    no_policy = {"learner.policy_coefficient": 0.0}
    validate(changed(CONFIG, fields | no_policy))


@pytest.mark.parametrize(
    "fields",
    [
        ONE | {"reanalyzer.search_simulations": 4, "reanalyzer.policy_reanalyze_ratio": 1.0},
        ONE_IN_REANALYSIS | {"reanalyzer.policy_reanalyze_ratio": 0.0},
    ],
)
def test_one_simulation_is_enough_where_no_policy_is_trained_towards_it(fields):
    validate(changed(CONFIG, fields))

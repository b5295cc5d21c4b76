"""Roots with illegal actions: visits by hand, permutations, and what the results say of them."""

import numpy as np
import pytest
import torch

from efficientzero.config import config_from_dict
from efficientzero.metrics import SearchStatistics
from efficientzero.networks import make_network
from efficientzero.schema import EnvSpec, Roots
from efficientzero.search import PriorPlanner, UniformPlanner, make_planner
from mcts_cpp import SearchParams, TreeBatch

SPEC = EnvSpec(
    env_id="x", frame_shape=(4,), frame_dtype="float32", num_actions=4, num_stacked_frames=1
)
CPU = torch.device("cpu")
LEGAL = np.array([True, False, True, False])


def searched(logits, legal, *, algorithm, num_simulations=20, best=None):
    """Search trees whose nodes all have these logits and the value 0.

    The action ``best`` earns 1 at the root, all others nothing.
    """
    params = SearchParams(discount=1.0, algorithm=algorithm, use_value_prefix=False)
    trees = TreeBatch(1, 4, num_simulations, params, np.zeros(1, np.uint64))
    zero, logits = np.zeros(1, np.float32), np.array([logits], np.float32)
    parents, actions, resets = np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.bool_)
    trees.expand_roots(logits, zero, legal_actions=np.array([legal]), draw_noise=False)
    for _ in range(num_simulations):
        trees.select_leaves(parents, actions, resets)
        earned = (parents == 0) & (actions == best)
        trees.backup(earned.astype(np.float32), zero, logits)
    visits, weights = np.zeros((1, 4), np.int32), np.zeros((1, 4), np.float32)
    trees.visit_counts(visits)
    trees.action_weights(weights)
    return visits[0], weights[0]


@pytest.mark.parametrize(
    ("algorithm", "wanted"), [("puct", [18, 0, 2, 0]), ("gumbel", [10, 0, 10, 0])]
)
def test_only_legal_actions_are_visited(algorithm, wanted):
    visits, weights = searched([0, 5, 0, 9], LEGAL, algorithm=algorithm, best=0)
    assert visits.tolist() == wanted
    assert weights[1] == weights[3] == 0 and weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("algorithm", ["puct", "gumbel"])
def test_a_single_legal_action_gets_all_visits(algorithm):
    visits, weights = searched([0, 5, 0, 9], [False, False, True, False], algorithm=algorithm)
    assert visits.tolist() == [0, 0, 20, 0] and weights.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("algorithm", ["puct", "gumbel"])
def test_permuted_actions_and_masks_give_permuted_visits(algorithm):
    logits, legal = np.array([0.3, 5.0, -0.4, 1.1]), np.array([True, False, True, True])
    plain, _ = searched(logits, legal, algorithm=algorithm)
    for order in ([2, 0, 3, 1], [1, 2, 3, 0], [3, 2, 1, 0]):
        permuted, _ = searched(logits[order], legal[order], algorithm=algorithm)
        assert permuted.tolist() == plain[order].tolist()


def planner_of(name):
    action = {"value_function": "action"} if name == "q" else {}
    values = {
        "env": {"num_stacked_frames": 1},
        "network": {"mlp_latent_size": 8, "mlp_hidden_size": 8, "zero_init_heads": False},
        "search": {"num_simulations": 0 if name == "network" else 6},
        "agent": {"value_function": "action"} if name == "network" else action,
    }
    config = config_from_dict(values)
    torch.manual_seed(3)
    network = make_network(config, SPEC, training=False).eval()
    if name == "prior":
        return PriorPlanner(network, CPU), network
    if name == "uniform":
        return UniformPlanner(4, np.random.default_rng(0)), network
    generator = np.random.default_rng(0)
    planner = make_planner(config, SPEC, network, batch_size=6, device=CPU, generator=generator)
    return planner, network


@pytest.mark.parametrize("name", ["search", "q", "network", "prior", "uniform"])
def test_priors_of_illegal_actions_are_none_in_results(name):
    planner, _ = planner_of(name)
    rng = np.random.default_rng(0)
    shown = rng.normal(size=(5, 4)).astype(np.float32)
    legal = rng.random((5, 4)) < 0.5
    legal[:, 0] = True
    found = planner.run(Roots(shown, legal), exploration_noise=False)
    assert (found.prior_logits[~legal] == np.float32(-1e9)).all()
    assert (found.prior_logits[legal] > -1e3).all() and not found.policies[~legal].any()
    statistics = SearchStatistics("actor")
    statistics.add(found)
    row = statistics.take_row()
    assert all(np.isfinite(list(row.values()))) and row["actor/search_prior_kl"] < 10
    free = planner.run(Roots(shown), exploration_noise=False)
    assert (free.prior_logits > -1e3).all()


@pytest.mark.parametrize("name", ["q", "network"])
def test_a_root_is_worth_its_best_legal_action(name):
    planner, network = planner_of(name)
    shown = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    with torch.no_grad():
        said = network.initial_inference(torch.tensor(shown))
        q = network.answer_rule.action_values(said).numpy()
    legal = np.ones((3, 4), np.bool_)
    legal[np.arange(3), q.argmax(axis=1)] = False
    found = planner.run(Roots(shown, legal), exploration_noise=False)
    second = np.sort(q, axis=1)[:, -2]
    np.testing.assert_allclose(found.predicted_values, second, rtol=1e-4, atol=1e-5)

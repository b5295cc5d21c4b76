"""The planner without a search: action values of one inference, and where it is chosen."""

import dataclasses

import numpy as np
import pytest
import torch

from actor.games import greedily, partly_random
from efficientzero.config import load_preset
from efficientzero.envs import probe_env_spec
from efficientzero.networks import make_network
from efficientzero.schema import Roots
from efficientzero.search import BatchedSearch, NetworkPlanner, make_planner

CPU = torch.device("cpu")
CONFIG = load_preset("catch-q")
SPEC = probe_env_spec(CONFIG.env)


def build():
    torch.manual_seed(0)
    network = make_network(CONFIG, SPEC, training=False).eval()
    torch.nn.init.normal_(network.prediction.action_value_head[-1].output.weight)
    return network


def planner_of(network, config=CONFIG, *, simulations=None, batch_size=40):
    return make_planner(
        config,
        SPEC,
        network,
        batch_size=batch_size,
        device=CPU,
        generator=np.random.default_rng(5),
        simulations=simulations,
    )


def observations(count):
    shape = (count, *SPEC.observation_shape)
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


@torch.no_grad()
def action_values(network, shown):
    said = network.initial_inference(torch.from_numpy(shown))
    return network.support.decode(said.action_value_logits).numpy()


def test_it_answers_with_the_networks_action_values():
    network, shown = build(), observations(40)
    planner, q = planner_of(network), action_values(network, shown)
    assert isinstance(planner, NetworkPlanner)
    assert planner.num_simulations == 0 and planner.plays_best
    for exploration_noise in (False, True):
        found = planner.run(Roots(shown), exploration_noise=exploration_noise)
        np.testing.assert_allclose(found.child_q, q, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found.best_actions, q.argmax(1))
        np.testing.assert_allclose(found.root_values, q.max(1), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found.root_values, found.predicted_values)
        wanted = np.exp(q / 0.25)
        np.testing.assert_allclose(found.policies, wanted / wanted.sum(1, keepdims=True), rtol=1e-3)
        assert not found.visit_counts.any() and not found.search_depths.any()
    np.testing.assert_allclose(planner.network_values(shown), q.max(1), rtol=1e-5, atol=1e-6)
    types = ["int32", "float32", "int32", *["float32"] * 3, "int32", *["float32"] * 2]
    assert [field.dtype.name for field in found] == types


def test_an_illegal_action_is_neither_best_nor_worth_anything():
    network, shown = build(), observations(40)
    legal = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 1]] * 10, np.bool_)
    found = planner_of(network).run(Roots(shown, legal), exploration_noise=True)
    q = np.where(legal, action_values(network, shown), -np.inf)
    np.testing.assert_array_equal(found.best_actions, q.argmax(1))
    np.testing.assert_allclose(found.root_values, q.max(1), rtol=1e-5, atol=1e-6)
    assert not found.policies[~legal].any()
    np.testing.assert_allclose(found.policies.sum(1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("rule", ["softmax_q", "mellowmax"])
def test_an_improved_policy_is_made_of_the_action_values(rule):
    search = dataclasses.replace(CONFIG.search, improved_policy=rule)
    found = planner_of(build(), dataclasses.replace(CONFIG, search=search)).run(
        Roots(observations(9)), exploration_noise=True
    )
    order = np.argsort(found.child_q, axis=1)
    assert (np.diff(np.take_along_axis(found.policies, order, 1), axis=1) >= 0).all()
    np.testing.assert_allclose(found.policies.sum(1), 1.0, rtol=1e-6)


def test_new_weights_count_at_once_and_what_is_not_finite_is_named():
    network, shown = build(), observations(3)
    planner = planner_of(network)
    before = planner.run(Roots(shown), exploration_noise=True).root_values
    output = network.prediction.action_value_head[-1].output
    with torch.no_grad():
        output.weight.mul_(-1.0)
    after = planner.run(Roots(shown), exploration_noise=True).root_values
    assert (before != after).all()
    with pytest.raises(ValueError, match=r"got 41 roots, wanted 1 to 40"):
        planner.run(Roots(observations(41)), exploration_noise=True)
    with torch.no_grad():
        output.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="action values: got numbers that are not finite"):
        planner.run(Roots(shown), exploration_noise=True)


@pytest.mark.parametrize(("configured", "asked"), [(0, 3), (3, None), (3, 0), (0, None)])
def test_the_number_of_simulations_decides_whether_there_is_a_search(configured, asked):
    search = dataclasses.replace(CONFIG.search, num_simulations=configured)
    config = dataclasses.replace(CONFIG, search=search)
    planner = planner_of(build(), config, simulations=asked)
    wanted = configured if asked is None else asked
    assert planner.num_simulations == wanted
    assert isinstance(planner, BatchedSearch if wanted else NetworkPlanner)


def test_evaluations_play_some_actions_at_random():
    """A = 3, epsilon 0.3: the best action has 1 - 0.3 + 0.3 / 3 = 0.8, an illegal one 0."""
    planner, shown = planner_of(build(), batch_size=3000), np.repeat(observations(1), 3000, axis=0)
    found = planner.run(Roots(shown), exploration_noise=False)
    best = int(found.best_actions[0])
    actions = greedily(planner, 0.3, np.random.default_rng(0))(Roots(shown))
    # Six standard deviations of a binomial share with n = 3000, p = 0.8.
    assert abs((actions == best).mean() - 0.8) < 6 * np.sqrt(0.8 * 0.2 / 3000)
    legal = np.ones((3000, 3), np.bool_)
    legal[:, (best + 1) % 3] = False
    drawn = partly_random(found, legal, 1.0, np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=3) / 3000
    assert shares[(best + 1) % 3] == 0.0
    assert abs(shares[best] - 0.5) < 6 * np.sqrt(0.25 / 3000)
    assert partly_random(found, None, 0.0, None) is found.best_actions

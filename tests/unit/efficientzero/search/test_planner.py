"""The planners, and the one place that chooses one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from efficientzero.config.fields import CompatConfig
from efficientzero.envs import probe_env_spec
from efficientzero.networks import make_network
from efficientzero.schema import Roots
from efficientzero.search import BatchedSearch, PriorPlanner, UniformPlanner, make_planner
from tests.support.fakes import tiny_config

CHECKOUT = Path(__file__).resolve().parents[4]
CPU = torch.device("cpu")
CONFIG = tiny_config()
SPEC = probe_env_spec(CONFIG.env)


def network_of_seed_0():
    torch.manual_seed(0)
    return make_network(CONFIG, SPEC, training=False).eval()


def configured(algorithm, **compat):
    search = dataclasses.replace(CONFIG.search, algorithm=algorithm)
    return dataclasses.replace(CONFIG, search=search, compat=CompatConfig(**compat))


def make(kind, *, batch_size=64):
    if kind == "uniform":
        return UniformPlanner(3, np.random.default_rng(5))
    if kind == "prior":
        return PriorPlanner(network_of_seed_0(), CPU)
    return make_planner(
        configured(kind),
        SPEC,
        network_of_seed_0(),
        batch_size=batch_size,
        device=CPU,
        generator=np.random.default_rng(5),
    )


def observations(count):
    shape = (count, *SPEC.observation_shape)
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


KINDS = ["puct", "gumbel", "prior", "uniform"]


@pytest.mark.parametrize(
    ("algorithm", "compat"),
    [("puct", {}), ("puct", {"random_first_child": True}), ("gumbel", {})],
)
def test_the_config_decides_all_that_a_search_is_given(algorithm, compat):
    config = configured(algorithm, **compat)
    by_hand = BatchedSearch(
        network_of_seed_0(),
        search=config.search,
        agent=config.agent,
        compat=config.compat,
        policy_width=3,
        batch_size=8,
        device=CPU,
        generator=np.random.default_rng(5),
    )
    chosen = make_planner(
        config,
        SPEC,
        network_of_seed_0(),
        batch_size=8,
        device=CPU,
        generator=np.random.default_rng(5),
    )
    assert chosen.plays_best == (algorithm == "gumbel")
    for _ in range(2):
        results = [s.run(Roots(observations(5)), exploration_noise=True) for s in (by_hand, chosen)]
        for ours, wanted in zip(*results, strict=True):
            np.testing.assert_array_equal(ours, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_an_illegal_action_is_neither_visited_nor_played(kind):
    legal = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 1]] * 10, np.bool_)
    for exploration_noise in (False, True):
        found = make(kind).run(Roots(observations(40), legal), exploration_noise=exploration_noise)
        assert not found.visit_counts[~legal].any()
        assert not found.policies[~legal].any()
        assert legal[np.arange(40), found.best_actions].all()
        np.testing.assert_allclose(found.policies.sum(1), 1.0, rtol=1e-6)
        assert found.visit_counts.any(axis=1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_without_an_illegal_action_changes_nothing(kind):
    every = np.ones((4, 3), np.bool_)
    plain, masked = (
        make(kind).run(Roots(observations(4), legal), exploration_noise=True)
        for legal in (None, every)
    )
    for ours, wanted in zip(plain, masked, strict=True):
        np.testing.assert_array_equal(ours, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_results_have_the_documented_shapes_and_types(kind):
    planner = make(kind)
    found = planner.run(Roots(observations(4)), exploration_noise=False)
    wanted = ["int32", "float32", "int32", *["float32"] * 3, "int32", *["float32"] * 2]
    assert [field.dtype.name for field in found] == wanted
    shapes = [(4, 3), (4, 3), (4,), (4,), (4,), (4, 3), (4,), (4, 0), (4, 0, 0)]
    assert [field.shape for field in found] == shapes
    np.testing.assert_allclose(planner.network_values(observations(4)), found.predicted_values)


def test_the_uniform_planner_plays_every_action_about_equally_often():
    found = make("uniform").run(Roots(np.zeros((3000, 1))), exploration_noise=False)
    counts = np.bincount(found.best_actions, minlength=3)
    # Six standard deviations of a binomial count with n = 3000, p = 1/3.
    assert np.abs(counts - 1000).max() < 6 * np.sqrt(3000 * 2 / 9)
    assert np.unique(found.policies).tolist() == [np.float32(1 / 3)]


def test_the_prior_is_the_policy_heads_answer():
    network, shown = network_of_seed_0(), observations(6)
    said = network.initial_inference(torch.from_numpy(shown))
    found = PriorPlanner(network, CPU).run(Roots(shown), exploration_noise=True)
    logits = said.policy_logits.detach()
    np.testing.assert_array_equal(found.best_actions, logits.argmax(1))
    np.testing.assert_allclose(found.policies, logits.softmax(1), rtol=1e-6)
    values = network.support.decode(said.value_logits).detach()
    np.testing.assert_array_equal(found.root_values, values)


def test_only_make_planner_gives_a_search_its_arguments():
    packages = ("efficientzero", "replay", "actor", "reanalyzer", "learner", "deploy")
    files = [file for name in packages for file in (CHECKOUT / name).rglob("*.py")]
    found = [file for file in files if "BatchedSearch(" in file.read_text()]
    assert found == [CHECKOUT / "efficientzero" / "search" / "planner.py"]

"""The head with Q(s, a): what it adds to a network, and how searches and targets read it."""

import dataclasses

import numpy as np
import pytest
import torch

from efficientzero.config import AgentConfig, Config, LearnerConfig, SearchConfig
from efficientzero.inference.cpu.folded_network import FoldedNetwork
from efficientzero.networks import make_network, node_answers
from efficientzero.schema import Roots
from efficientzero.search import PriorPlanner, make_planner
from tests.unit.efficientzero.inference.test_folded_network import (
    NARROW,
    SMALL_IMAGE,
    VECTOR,
    WIDE,
    observations_for,
)

CPU = torch.device("cpu")
NETWORKS = {
    "vectors": (VECTOR, NARROW),
    "images": (SMALL_IMAGE, WIDE),
    "images by call": (SMALL_IMAGE, dataclasses.replace(NARROW, norm="batch_by_call")),
    "numbers": (SMALL_IMAGE, dataclasses.replace(NARROW, categorical_values=False)),
}
HEAD = "prediction.action_value_head."


def configured(sizes, value_function="action"):
    agent = AgentConfig(value_function=value_function)
    return Config(
        network=sizes,
        agent=agent,
        search=SearchConfig(num_simulations=6),
        learner=LearnerConfig(consistency_coefficient=1.0),
    )


def build(spec, sizes, value_function="action", *, training=False):
    torch.manual_seed(0)
    return make_network(configured(sizes, value_function), spec, training=training).eval()


@pytest.mark.parametrize(("spec", "sizes"), NETWORKS.values(), ids=NETWORKS)
def test_the_head_is_the_last_one_drawn_and_changes_no_other_weight(spec, sizes):
    plain, larger = (build(spec, sizes, kind, training=True) for kind in ("state", "action"))
    before, after = plain.state_dict(), larger.state_dict()
    assert [name for name in after if "action_value_head" not in name] == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    added = {name for name, _ in larger.named_parameters()} - dict(plain.named_parameters()).keys()
    assert added and all(name.startswith(HEAD) for name in added)
    acting = build(spec, sizes)
    acting.load_inference_state_dict(larger.inference_state_dict())
    torch.testing.assert_close(acting.state_dict(), larger.inference_state_dict())


def test_its_hidden_width_is_the_other_heads_unless_it_is_named():
    widths = [
        build(VECTOR, dataclasses.replace(NARROW, action_value_hidden_size=size))
        .prediction.action_value_head[-1]
        .hidden.out_features
        for size in (0, 7)
    ]
    assert widths == [NARROW.head_hidden_size, 7]


def test_separate_statistics_of_roots_share_its_weights():
    network = build(*NETWORKS["images by call"]).train()
    ours, roots = network.prediction.action_value_head, network.root_prediction.action_value_head
    for one, other in zip(ours.parameters(), roots.parameters(), strict=True):
        assert one is other
    before = [buffer.clone() for buffer in ours.buffers()]
    network.initial_inference(observations_for(SMALL_IMAGE, 5))
    for now, was, of_roots in zip(ours.buffers(), before, roots.buffers(), strict=True):
        assert torch.equal(now, was)
        assert not torch.equal(of_roots, was)


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize(("spec", "sizes"), NETWORKS.values(), ids=NETWORKS)
@torch.no_grad()
def test_a_state_is_worth_its_best_action(spec, sizes, folded):
    network = build(spec, sizes)
    said = network.initial_inference(observations_for(spec, 5))
    assert said.action_value_logits.shape == (5, spec.num_actions, network.support.num_bins)
    wanted = network.support.decode(said.action_value_logits)
    assert wanted.std(1).min() > 0, "actions must differ here"
    if folded:
        network = FoldedNetwork(network).network
        said = network.initial_inference(observations_for(spec, 5))
    rule, close = network.answer_rule, {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(rule.action_values(said), wanted, **close)
    torch.testing.assert_close(node_answers(said, rule).values, wanted.amax(1), **close)
    assert (wanted.amax(1) - network.support.decode(said.value_logits)).abs().min() > 1e-4


@pytest.mark.parametrize("algorithm", ["puct", "gumbel"])
@pytest.mark.parametrize(("spec", "sizes"), NETWORKS.values(), ids=NETWORKS)
def test_searches_of_every_backend_take_the_best_action_as_a_nodes_value(spec, sizes, algorithm):
    network, shown = build(spec, sizes), observations_for(spec, 5).numpy()
    found = {}
    for backend in ("eager", "folded"):
        config = configured(sizes)
        search = dataclasses.replace(config.search, inference_backend=backend, algorithm=algorithm)
        planner = make_planner(
            dataclasses.replace(config, search=search),
            spec,
            network,
            batch_size=5,
            device=CPU,
            generator=np.random.default_rng(1),
        )
        found[backend] = planner.run(Roots(shown), exploration_noise=False)
        values = planner.network_action_values(shown)
        assert values.shape == (5, spec.num_actions) and values.dtype == np.float32
        close = {"rtol": 1e-3, "atol": 1e-4}
        np.testing.assert_allclose(found[backend].predicted_values, values.max(1), **close)
        np.testing.assert_allclose(planner.network_values(shown), values.max(1), **close)
        plain = PriorPlanner(network, CPU)
        np.testing.assert_allclose(plain.network_action_values(shown), values, **close)
        np.testing.assert_allclose(plain.network_values(shown), values.max(1), **close)
    np.testing.assert_array_equal(found["eager"].visit_counts, found["folded"].visit_counts)
    np.testing.assert_allclose(
        found["eager"].root_values, found["folded"].root_values, rtol=1e-3, atol=1e-4
    )


def test_a_network_without_the_head_says_so():
    network = build(VECTOR, NARROW, "state")
    said = network.initial_inference(observations_for(VECTOR, 2))
    assert said.action_value_logits is None
    with pytest.raises(ValueError, match=r"has none \(agent\.value_function is state\)"):
        network.answer_rule.action_values(said)

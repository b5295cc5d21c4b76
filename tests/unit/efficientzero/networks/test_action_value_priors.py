"""Priors of searches from Q(s, a): `search.prior`."""

import dataclasses

import numpy as np
import pytest
import torch

from efficientzero.networks import make_network, node_answers
from efficientzero.networks.node_answers import StepAnswers, step_answers
from efficientzero.schema import Roots
from efficientzero.search import PriorPlanner, make_planner
from tests.unit.efficientzero.inference.test_folded_network import observations_for
from tests.unit.efficientzero.networks.test_action_values import NETWORKS, configured

CPU = torch.device("cpu")
TEMPERATURE = 0.3


def q_config(sizes, value_function, **search):
    config = configured(sizes, value_function)
    return dataclasses.replace(
        config,
        search=dataclasses.replace(
            config.search, prior="action_values", q_temperature=TEMPERATURE, **search
        ),
        learner=dataclasses.replace(config.learner, action_value_coefficient=1.0),
    )


def build(spec, config):
    torch.manual_seed(0)
    return make_network(config, spec, training=False).eval()


def planner_of(config, spec, network, size):
    return make_planner(
        config,
        spec,
        network,
        batch_size=size,
        device=CPU,
        generator=np.random.default_rng(1),
    )


@pytest.mark.parametrize("value_function", ["state", "action"])
@pytest.mark.parametrize(("spec", "sizes"), NETWORKS.values(), ids=NETWORKS)
@torch.no_grad()
def test_priors_are_action_values_over_the_temperature(spec, sizes, value_function):
    network = build(spec, q_config(sizes, value_function))
    said = network.initial_inference(observations_for(spec, 5))
    values, priors = node_answers(said, network.answer_rule)
    q = network.support.decode(said.action_value_logits)
    torch.testing.assert_close(priors, q / TEMPERATURE)
    own = network.support.decode(said.value_logits)
    torch.testing.assert_close(values, q.amax(1) if value_function == "action" else own)
    lstm = network.initial_lstm_states(5)
    step = network.recurrent_inference(said.latents, lstm, torch.zeros(5, dtype=torch.int64))
    wanted = step_answers(step, network.answer_rule)
    written = StepAnswers.within(
        torch.empty(StepAnswers.size(5, spec.num_actions)), spec.num_actions
    )
    network.answer_rule.write_step(step, written)
    for ours, other in zip(written, wanted, strict=True):
        torch.testing.assert_close(ours, other)


@pytest.mark.parametrize("algorithm", ["puct", "gumbel"])
@pytest.mark.parametrize(("spec", "sizes"), NETWORKS.values(), ids=NETWORKS)
def test_a_search_with_action_values_is_the_usual_one_with_these_logits(spec, sizes, algorithm):
    """A network whose policy head answers Q / temperature searches alike with the usual prior."""
    config = q_config(sizes, "action", algorithm=algorithm, inference_backend="eager")
    shown = observations_for(spec, 5).numpy()
    usual = build(spec, config)
    infer_first, infer_next = usual.initial_inference, usual.recurrent_inference

    def with_policy(said):
        q = usual.support.decode(said.action_value_logits)
        return said._replace(policy_logits=q / TEMPERATURE)

    usual.initial_inference = lambda *given: with_policy(infer_first(*given))
    usual.recurrent_inference = lambda *given: with_policy(infer_next(*given))
    usual._heads = dataclasses.replace(usual._heads, q_temperature=None)
    results = [
        planner_of(config, spec, network, 5).run(Roots(shown), exploration_noise=True)
        for network in (build(spec, config), usual)
    ]
    for ours, wanted in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, wanted)


@pytest.mark.parametrize(("spec", "sizes"), NETWORKS.values(), ids=NETWORKS)
def test_the_folded_search_agrees(spec, sizes):
    shown, found = observations_for(spec, 5).numpy(), []
    for backend in ("eager", "folded"):
        config = q_config(sizes, "action", inference_backend=backend)
        planner = planner_of(config, spec, build(spec, config), 5)
        found.append(planner.run(Roots(shown), exploration_noise=False))
    np.testing.assert_array_equal(found[0].visit_counts, found[1].visit_counts)
    np.testing.assert_allclose(found[0].prior_logits, found[1].prior_logits, rtol=1e-3, atol=1e-3)


def test_the_prior_alone_plays_the_best_action():
    spec, sizes = NETWORKS["vectors"]
    network, shown = build(spec, q_config(sizes, "action")), observations_for(spec, 20).numpy()
    planner = PriorPlanner(network, CPU)
    found = planner.run(Roots(shown), exploration_noise=False)
    q = planner.network_action_values(shown)
    np.testing.assert_array_equal(found.best_actions, q.argmax(1))


def test_by_default_priors_are_the_policy_heads():
    spec, sizes = NETWORKS["vectors"]
    network = build(spec, configured(sizes))
    said = network.initial_inference(observations_for(spec, 5))
    assert network.answer_rule.q_temperature is None
    assert torch.equal(node_answers(said, network.answer_rule).prior_logits, said.policy_logits)

"""The policy loss over continuous actions, against hand-computed numbers and a loop."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from efficientzero.networks import squashed_gaussian
from efficientzero.networks.actions.squashed_gaussian import Gaussian
from learner.training.losses import LossInput, compute_loss, loss_parts
from learner.training.losses.continuous_policy import (
    all_actions,
    best_action,
    continuous_policy_parts,
    gaussian_numbers,
    weighted_negative_log_prob,
)
from tests.reference import reference_continuous as reference
from tests.support.cases.continuous_cases import agent, network_of, spec_of


def batch_of(config, spec, size=4):
    g = torch.Generator().manual_seed(0)
    steps, slots, x = 5, config.search.sampled_actions, spec.action_size
    policies = torch.rand(size, steps + 1, slots, generator=g)
    policies /= policies.sum(-1, keepdim=True)
    policies[0, 2:] = 0.0  # an episode that ends at o[t + 2]
    mask = torch.ones(size, steps)
    mask[0, 2:] = 0.0
    return LossInput(
        root_observations=torch.randn(size, *spec.observation_shape, generator=g),
        next_observations=torch.randn(size, steps, *spec.observation_shape, generator=g),
        actions=torch.zeros(size, steps, dtype=torch.int64),
        value_prefixes=torch.zeros(size, steps),
        values=torch.zeros(size, steps + 1),
        policies=policies,
        mask=mask,
        importance_weights=torch.ones(size),
        continuous_actions=2 * torch.rand(size, steps, x, generator=g) - 1,
        policy_actions=2 * torch.rand(size, steps + 1, slots, x, generator=g) - 1,
        best_actions=2 * torch.rand(size, steps + 1, x, generator=g) - 1,
    )


def terms_of(config, spec, batch):
    network = network_of(config, spec, training=True).train()
    parts = loss_parts(config, action_size=spec.action_size)
    return network, compute_loss(network, batch, parts, agent=config.agent)


def test_the_weighted_densities_of_two_slots_by_hand():
    policy = Gaussian(torch.zeros(1), torch.ones(1))
    actions, weights = torch.tensor([[0.5], [0.0]]), torch.tensor([0.25, 0.75])
    wanted = 0.25 * 0.782125 + 0.75 * 0.918939
    found = float(weighted_negative_log_prob(policy, actions, weights))
    assert found == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("kind", ["full", "best"])
def test_the_loss_is_what_loops_find_and_zero_past_the_end(kind):
    spec, config = spec_of(2), agent(learner__continuous_policy_loss=kind)
    batch = batch_of(config, spec)
    _, terms = terms_of(config, spec, batch)
    for row, k in ((0, 1), (1, 0), (3, 5)):
        mean, scale = reference.gaussian(terms.policy_logits[row, k].double().numpy())
        if kind == "best":
            action = batch.best_actions[row, k].double().numpy()
            wanted = -reference.log_density(action, mean, scale)
        else:
            slots = batch.policy_actions[row, k].double().numpy()
            weights = batch.policies[row, k].double().numpy()
            densities = [reference.log_density(a, mean, scale) for a in slots]
            wanted = -float(np.dot(weights, densities))
        assert float(terms.parts["policy"][row, k]) == pytest.approx(wanted, rel=1e-4)
    assert (terms.parts["policy"][0, 2:] == 0).all()


def test_auto_fits_all_actions_of_one_number_and_the_best_of_more():
    learner = agent().learner
    (part,) = continuous_policy_parts(dataclasses.replace(learner, entropy_coefficient=0.0), 1)
    assert part.per_step is all_actions
    part, bonus = continuous_policy_parts(dataclasses.replace(learner, entropy_coefficient=0.05), 2)
    assert part.per_step is best_action and bonus.coefficient == 0.05


def test_the_bonus_widens_the_policy():
    spec = spec_of(2)
    config = agent(learner__entropy_coefficient=0.5, learner__policy_coefficient=0.0)
    batch = batch_of(config, spec)
    network, terms = terms_of(config, spec, batch)
    entropy = squashed_gaussian.entropy(squashed_gaussian.parameters(terms.policy_logits))
    torch.testing.assert_close(terms.parts["negative_entropy"][1:], -entropy[1:])
    assert (terms.parts["negative_entropy"][0, 2:] == 0).all()
    terms.total.backward()
    head = network.prediction.policy_head
    assert sum(float(p.grad.abs().sum()) for p in head.parameters()) > 0


def test_the_model_is_unrolled_with_the_numbers_that_were_played():
    spec, config = spec_of(2), agent()
    batch = batch_of(config, spec)
    _, terms = terms_of(config, spec, batch)
    other = dataclasses.replace(batch, continuous_actions=-batch.continuous_actions)
    _, others = terms_of(config, spec, other)
    assert (terms.policy_logits[:, 0] == others.policy_logits[:, 0]).all()
    assert (terms.policy_logits[:, 1] != others.policy_logits[:, 1]).any()


def test_the_metrics_of_a_policy():
    spec, config = spec_of(1), agent()
    batch = batch_of(config, spec)
    _, terms = terms_of(config, spec, batch)
    outputs = torch.zeros_like(terms.policy_logits)
    outputs[..., 0] = 100.0  # mean 5, of which tanh is 1
    numbers = gaussian_numbers(batch, dataclasses.replace(terms, policy_logits=outputs))
    assert float(numbers["action_saturation"]) == 1.0
    assert float(numbers["policy_sigma_min"]) == pytest.approx(1.413262, abs=1e-5)
    assert float(numbers["policy_entropy"]) < math.log(2)
    assert numbers["action_log_prob_min"] <= numbers["action_log_prob_mean"]
    assert numbers["action_log_prob_mean"] <= numbers["action_log_prob_max"]

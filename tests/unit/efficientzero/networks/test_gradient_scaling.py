"""Which share of each step's gradient arrives where, against an unroll without any scaling."""

import dataclasses

import pytest
import torch

from learner.training.losses.unrolled_loss import scale_gradient
from tests.support.cases.loss_cases import case, loss_of, make_batch, make_network


@pytest.fixture(autouse=True)
def in_float64(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def only(part, steps, scaling):
    """Return a config whose loss is one part, over ``steps`` steps."""
    names = ("policy", "value", "value_prefix", "consistency")
    return case(
        agent={"num_unroll_steps": steps, "value_prefix_horizon": steps},
        learner={f"{name}_coefficient": float(name == part) for name in names},
        compat={"gradient_scaling": scaling},
    )


def gradients(network, loss):
    parameters = dict(network.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {name: g for name, g in zip(parameters, found, strict=True) if g is not None}


def unscaled(config, batch, part, k):
    """Return gradients of step k's part alone, from an unroll that scales nothing."""
    network = make_network(config)
    latents = network.representation(batch.root_observations)
    states, prefix = network.initial_lstm_states(len(latents)), None
    for step in range(k):
        latents = network.dynamics(latents, batch.actions[:, step])
        prefix, states = network.value_prefix_head(latents, states)
    value, policy = network.prediction(latents)
    if part == "policy":
        losses = -(batch.policies[:, k] * policy.log_softmax(1)).sum(1)
    elif part == "value":
        losses = network.support.loss(value, batch.values[:, k])
    else:
        losses = network.support.loss(prefix, batch.value_prefixes[:, k - 1])
    return gradients(network, (batch.importance_weights * losses).mean())


def scaled(config, batch, part, k):
    """Return the implementation's gradients of step k's part: what it adds to steps before k."""
    found = []
    for last in (k, k - 1):
        network = make_network(config)
        weights = torch.arange(config.agent.num_unroll_steps + 1) <= last
        mask, policies = batch.mask * weights[1:], batch.policies * weights[None, :, None]
        inputs = dataclasses.replace(batch, mask=mask, policies=policies)
        found.append(gradients(network, loss_of(network, inputs, config).total))
    if k == 0:
        return found[0]
    return {name: g - found[1].get(name, torch.zeros_like(g)) for name, g in found[0].items()}


def whole_batch(config):
    """Return a batch whose slices all reach the end."""
    batch = make_batch(config)
    policies = torch.full_like(batch.policies, 0.25)
    policies[:, :, 0] = 0.75
    return dataclasses.replace(batch, mask=torch.ones_like(batch.mask), policies=policies)


def assert_scaled(got, plain, factor, module):
    names = [name for name in plain if name.startswith(module)]
    assert names
    for name in names:
        torch.testing.assert_close(got[name], factor * plain[name], rtol=1e-7, atol=1e-12)
    assert max(float(plain[name].abs().max()) for name in names) > 1e-6


@pytest.mark.parametrize("part", ["policy", "value"])
@pytest.mark.parametrize("scaling", ["muzero", "reference"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_heads_of_step_k_reach_the_encoder_with_a_half_to_the_power_of_k(steps, scaling, part):
    config = only(part, steps, scaling)
    batch = whole_batch(config)
    for k in range(steps + 1):
        got, plain = scaled(config, batch, part, k), unscaled(config, batch, part, k)
        share = 1.0 if k == 0 and scaling == "muzero" else 1.0 / steps
        assert_scaled(got, plain, share * 0.5**k, "representation")


@pytest.mark.parametrize("scaling", ["muzero", "reference"])
@pytest.mark.parametrize("steps", [1, 2])
def test_heads_themselves_get_each_steps_gradient_whole(steps, scaling):
    config = only("policy", steps, scaling)
    batch = whole_batch(config)
    for k in range(steps + 1):
        got, plain = scaled(config, batch, "policy", k), unscaled(config, batch, "policy", k)
        share = 1.0 if k == 0 and scaling == "muzero" else 1.0 / steps
        assert_scaled(got, plain, share, "prediction.policy_head")


@pytest.mark.parametrize(("scaling", "factor"), [("muzero", 1.0), ("reference", 0.5)])
def test_first_dynamics_call_gets_its_own_heads_gradient_whole_or_halved(scaling, factor):
    config = only("value", 1, scaling)
    batch = whole_batch(config)
    got, plain = scaled(config, batch, "value", 1), unscaled(config, batch, "value", 1)
    assert_scaled(got, plain, factor, "dynamics")


@pytest.mark.parametrize("part", ["policy", "value", "value_prefix", "consistency"])
@pytest.mark.parametrize("steps", [1, 2])
def test_unrolled_gradients_of_the_two_scalings_differ_by_a_half_in_the_dynamics_only(steps, part):
    found = {}
    for scaling in ("muzero", "reference"):
        config = only(part, steps, scaling)
        batch = whole_batch(config)
        found[scaling] = [scaled(config, batch, part, k) for k in range(1, steps + 1)]
    for muzero, reference in zip(found["muzero"], found["reference"], strict=True):
        for name, gradient in muzero.items():
            factor = 0.5 if name.startswith("dynamics") else 1.0
            torch.testing.assert_close(reference[name], factor * gradient, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("scaling", ["muzero", "reference"])
def test_path_through_the_lstms_states_is_not_scaled(scaling):
    config = only("value_prefix", 2, scaling)
    batch = whole_batch(config)
    got = scaled(config, batch, "value_prefix", 2)
    plain = unscaled(config, batch, "value_prefix", 2)
    assert_scaled(got, plain, 0.5, "value_prefix_head.lstm")  # 1 / K and nothing else


def test_scaled_tensor_keeps_its_value():
    x = torch.tensor(3.0, requires_grad=True)
    y = scale_gradient(x, 0.5)
    y.backward()
    assert y.item() == 3.0
    assert x.grad.item() == 0.5

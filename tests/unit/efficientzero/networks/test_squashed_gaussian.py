"""The policy over continuous actions, against hand-computed numbers and torch's distributions."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from efficientzero.networks.actions.squashed_gaussian import (
    Gaussian,
    draw,
    entropy,
    log_prob,
    parameters,
)


def gaussian(mean: list[float], scale: list[float]) -> Gaussian:
    return Gaussian(torch.tensor(mean), torch.tensor(scale))


def test_the_heads_outputs_become_a_mean_and_a_scale():
    mean, scale = parameters(torch.tensor([[10.0, 0.0, 0.0, -100.0]]))
    torch.testing.assert_close(mean, torch.tensor([[4.820138, 0.0]]))
    torch.testing.assert_close(scale, torch.tensor([[1.413262, 0.1]]))


@pytest.mark.parametrize(
    ("action", "mean", "scale", "wanted"),
    [(0.5, 0, 1, -0.782125), (0, 0, 1, -0.918939), (0.5, 0, 3, -1.746632)],
)
def test_log_densities_worked_out_by_hand(action, mean, scale, wanted):
    found = log_prob(torch.tensor([float(action)]), gaussian([float(mean)], [float(scale)]))
    assert float(found) == pytest.approx(wanted, abs=1e-6)


def test_densities_agree_with_torchs_transformed_normal():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(50, 6, generator=generator)
    scale = 0.3 + torch.rand(50, 6, generator=generator)
    actions = torch.tanh(mean + scale * torch.randn(50, 6, generator=generator)).clamp(-0.99, 0.99)
    reference = TransformedDistribution(Independent(Normal(mean, scale), 1), [TanhTransform()])
    found = log_prob(actions, Gaussian(mean, scale))
    torch.testing.assert_close(found, reference.log_prob(actions), rtol=1e-5, atol=1e-5)


def test_the_density_adds_up_to_one():
    edge = 0.9989  # inside of the clip, outside of which little is left
    actions = torch.linspace(-edge, edge, 200_001)
    density = log_prob(actions[:, None], gaussian([0.4], [0.6])).exp()
    assert float(torch.trapezoid(density, actions)) == pytest.approx(1.0, abs=1e-4)


def test_actions_at_the_edge_have_a_finite_density_and_gradient():
    mean = torch.zeros(1, requires_grad=True)
    found = log_prob(torch.tensor([1.0]), Gaussian(mean, torch.ones(1)))
    found.backward()
    assert torch.isfinite(found) and torch.isfinite(mean.grad).all()


def test_the_gradient_towards_one_action_by_hand():
    mean = torch.zeros(1, requires_grad=True)
    (-log_prob(torch.tensor([0.5]), Gaussian(mean, torch.ones(1)))).backward()
    assert float(mean.grad) == pytest.approx(-0.549306, abs=1e-6)


def test_draws_have_the_mean_and_the_spread_of_the_policy():
    noise = torch.randn(100_000, 2, generator=torch.Generator().manual_seed(1))
    actions = draw(gaussian([0.3, -1.0], [0.5, 0.2]), noise)
    before = torch.atanh(actions.double())
    torch.testing.assert_close(
        before.mean(0), torch.tensor([0.3, -1.0], dtype=torch.float64), rtol=0, atol=0.01
    )
    torch.testing.assert_close(
        before.std(0), torch.tensor([0.5, 0.2], dtype=torch.float64), rtol=0, atol=0.01
    )


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.413), (0.7, 0.3), (-4.0, 0.15), (1.0, 3.0)])
def test_the_entropy_is_the_mean_negative_log_density_of_draws(mean, scale):
    policy = Gaussian(torch.tensor([mean]).double(), torch.tensor([scale]).double())
    noise = torch.randn(400_000, 1, generator=torch.Generator().manual_seed(2)).double()
    u = policy.mean + policy.scale * noise
    log_normal = Normal(policy.mean, policy.scale).log_prob(u)
    log_slope = 2.0 * (math.log(2.0) - u - torch.nn.functional.softplus(-2.0 * u))
    wanted = -(log_normal - log_slope).mean()
    assert float(entropy(policy)) == pytest.approx(float(wanted), abs=0.015)


def test_the_entropy_of_independent_dimensions_adds_up():
    both = entropy(gaussian([0.3, -1.0], [0.5, 0.2]))
    each = entropy(gaussian([0.3], [0.5])) + entropy(gaussian([-1.0], [0.2]))
    torch.testing.assert_close(both, each)
    assert float(both) < 2 * math.log(2)


def test_bfloat16_outputs_are_read_in_float32():
    outputs = torch.tensor([[0.25, 0.5]], dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in parameters(outputs)} == {torch.float32}

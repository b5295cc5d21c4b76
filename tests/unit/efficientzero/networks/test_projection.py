"""Distributions of returns moved by rewards and discounts: by hand, by loops, in limits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from efficientzero.networks import AtomSupport, ScalarSupport, distribution_loss, project
from tests.reference.reference_distribution import projected

P = [0.0, 0.0, 0.25, 0.5, 0.25]
SUPPORTS = [
    AtomSupport(2, 5, "identity"),
    AtomSupport(2, 5, "sqrt"),
    AtomSupport(10, 51, "identity"),
    AtomSupport(7, 30, "sqrt"),
    ScalarSupport(4),
]


@pytest.mark.parametrize(
    ("support", "wanted"),
    [
        # 0.5 + 0.5 * (-2 .. 2) = -0.5, 0, 0.5, 1, 1.5.
        (AtomSupport(2, 5, "identity"), [0, 0, 0.125, 0.75, 0.125]),
        # h(0.5 + 0.5 h^-1(-2 .. 2)) = -1.119173, -0.413095, 0.225245, 0.732320, 1.344599.
        (AtomSupport(2, 5, "sqrt"), [0, 0, 0.327529, 0.586322, 0.086150]),
        (ScalarSupport(2), [0, 0, 0.327529, 0.586322, 0.086150]),
    ],
)
def test_a_distribution_by_hand(support, wanted):
    logits = torch.tensor([P]).clamp(min=1e-30).log()
    got = project(support, logits, torch.tensor([0.5]), torch.tensor([0.5]))
    torch.testing.assert_close(got, torch.tensor([wanted]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("support", SUPPORTS, ids=range(len(SUPPORTS)))
def test_distributions_equal_loops_over_atoms(support):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 3, support.num_bins, generator=generator) * 2
    returns = torch.randn(8, 3, generator=generator) * 3
    discounts = torch.rand(8, 3, generator=generator)
    discounts[0] = 0.0
    got = project(support, logits, returns, discounts)
    torch.testing.assert_close(got.sum(-1), torch.ones(8, 3))
    is_transformed = (
        isinstance(support, ScalarSupport) or support.transform.forward(torch.tensor(3.0)) != 3.0
    )
    for row, shares in zip(
        torch.cat([returns.flatten()[:, None], discounts.flatten()[:, None]], 1).tolist(),
        zip(logits.flatten(0, 1).double().softmax(-1).tolist(), got.flatten(0, 1), strict=True),
        strict=True,
    ):
        wanted = projected(shares[0], *row, bound=support.bound, is_transformed=is_transformed)
        torch.testing.assert_close(shares[1], torch.tensor(wanted), rtol=0, atol=2e-5)


@pytest.mark.parametrize("support", SUPPORTS, ids=range(len(SUPPORTS)))
def test_without_a_bootstrap_all_probability_lies_at_the_rewards(support):
    returns = torch.tensor([0.3, -1.7, 1e6])
    logits = torch.randn(3, support.num_bins, generator=torch.Generator().manual_seed(1))
    got = project(support, logits, returns, torch.zeros(3))
    torch.testing.assert_close(got, support.encode(returns))
    torch.testing.assert_close(
        distribution_loss(logits, got), support.loss(logits, returns), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("support", SUPPORTS, ids=range(len(SUPPORTS)))
def test_without_rewards_and_discount_the_distribution_stays(support):
    logits = torch.randn(4, support.num_bins, generator=torch.Generator().manual_seed(2))
    got = project(support, logits, torch.zeros(4), torch.ones(4))
    torch.testing.assert_close(got, logits.softmax(-1), rtol=0, atol=2e-4)


@given(
    reward=st.floats(-3, 3, width=32),
    discount=st.floats(0, 0.5, width=32),
    seed=st.integers(0, 100),
)
@settings(max_examples=50, deadline=None)
def test_the_mean_is_kept_where_no_atom_is_clipped(reward, discount, seed):
    support = AtomSupport(10, 51, "identity")  # 3 + 0.5 * 10 < 10
    logits = torch.randn(51, generator=torch.Generator().manual_seed(seed))
    got = project(support, logits, torch.tensor(reward), torch.tensor(discount))
    mean = float(reward + discount * support.decode(logits))
    assert float((got * support.atoms()).sum()) == pytest.approx(mean, abs=1e-4)


def test_what_is_no_number_is_not_hidden():
    support, nan = AtomSupport(2, 5, "identity"), torch.tensor([float("nan")])
    assert project(support, torch.zeros(1, 5), nan, torch.ones(1)).isnan().any()
    assert project(support, torch.full((1, 5), float("nan")), torch.ones(1), nan).isnan().any()

"""Evenly spaced categories of any number, against numbers by hand and the one-per-integer ones."""

import pytest
import torch
import torch.nn.functional as F

from efficientzero.config.fields import NetworkConfig
from efficientzero.networks import AtomSupport, ScalarRegression, ScalarSupport
from efficientzero.networks.supports import make_support
from learner.training.losses.value_loss import huber_loss


def test_51_atoms_over_minus_10_to_10_are_c51s():
    support = AtomSupport(10, 51, "identity")
    torch.testing.assert_close(support.atoms(), torch.linspace(-10, 10, 51))
    assert support.spacing == pytest.approx(0.4)
    assert support.largest == 10.0


def test_a_value_is_split_between_its_two_neighbours():
    # Atoms -2, -1, .., 2 in the units of the values: 0.3 lies 0.3 above 0.
    encoded = AtomSupport(2, 5, "identity").encode(torch.tensor([0.3, 2.0, 7.0, -9.0]))
    wanted = [[0, 0, 0.7, 0.3, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
    torch.testing.assert_close(encoded, torch.tensor(wanted))
    # Spacing 0.5: 0.3 lies 0.6 of the way from 0 to 0.5.
    encoded = AtomSupport(1, 5, "identity").encode(torch.tensor([0.3]))
    torch.testing.assert_close(encoded, torch.tensor([[0, 0, 0.4, 0.6, 0]]))


def test_one_atom_per_integer_under_the_square_root_is_scalar_support():
    atoms, bins = AtomSupport(4, 9, "sqrt"), ScalarSupport(4)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 3, 9, generator=generator)
    values = torch.randn(6, 3, generator=generator) * 20
    torch.testing.assert_close(atoms.encode(values), bins.encode(values))
    torch.testing.assert_close(atoms.decode(logits), bins.decode(logits))
    torch.testing.assert_close(atoms.loss(logits, values), bins.loss(logits, values))
    assert atoms.largest == bins.largest


@pytest.mark.parametrize("transform", ["sqrt", "identity"])
def test_cross_entropy_equals_torchs_and_decoding_undoes_encoding(transform):
    support = AtomSupport(5, 26, transform)
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(40, 26, generator=generator) * 3
    values = torch.rand(40, generator=generator) * 8 - 4
    encoded = support.encode(values)
    torch.testing.assert_close(
        support.loss(logits, values), F.cross_entropy(logits, encoded, reduction="none")
    )
    torch.testing.assert_close(support.decode(encoded.log()), values, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(encoded.sum(-1), torch.ones(40))


def test_what_is_no_number_or_of_another_shape_is_not_hidden():
    support, nan = AtomSupport(5, 26, "identity"), torch.tensor([float("nan")])
    assert support.encode(nan).isnan().any()
    assert support.loss(torch.zeros(1, 26), nan).isnan().all()
    with pytest.raises(ValueError, match=r"got shape \(3, 1\), wanted \(3,\)"):
        support.loss(torch.zeros(3, 26), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="got bound 5 and 1 atoms"):
        AtomSupport(5, 1, "sqrt")


def test_atoms_survive_a_cast_to_bfloat16_and_are_not_saved():
    support = AtomSupport(10, 51, "identity").to(torch.bfloat16)
    torch.testing.assert_close(support.atoms(), torch.linspace(-10, 10, 51))
    assert support.state_dict() == {}


@pytest.mark.parametrize(
    ("fields", "kind", "num_bins"),
    [
        ({}, ScalarSupport, 601),
        ({"support_bins": 601}, ScalarSupport, 601),
        ({"support_bins": 51}, AtomSupport, 51),
        ({"value_transform": "identity", "support_bound": 10}, AtomSupport, 21),
        ({"categorical_values": False}, ScalarRegression, 1),
    ],
)
def test_the_config_chooses(fields, kind, num_bins):
    support = make_support(NetworkConfig(**fields))
    assert type(support) is kind
    assert support.num_bins == num_bins


def test_one_number_in_the_units_of_the_values():
    support = ScalarRegression("identity")
    outputs, values = torch.tensor([[2.0], [-2.0]]), torch.tensor([3.0, -8.0])
    torch.testing.assert_close(support.loss(outputs, values), torch.tensor([0.5, 18.0]))
    torch.testing.assert_close(support.decode(outputs), torch.tensor([2.0, -2.0]))


def test_huber_is_squared_near_zero_and_linear_beyond_by_hand():
    support, outputs = ScalarRegression("identity"), torch.tensor([[2.0], [-2.0], [0.0]])
    outputs.requires_grad_()
    losses = huber_loss(support, outputs, torch.tensor([1.5, -8.0, -1.0]), 1.0)
    # d = 0.5, 6 and 1: d^2 / 2 = 0.125 and 0.5, |d| - 0.5 = 5.5.
    torch.testing.assert_close(losses, torch.tensor([0.125, 5.5, 0.5]))
    losses.sum().backward()
    torch.testing.assert_close(outputs.grad, torch.tensor([[0.5], [1.0], [1.0]]))

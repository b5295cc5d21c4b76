"""Scalars as categories, against numbers computed by hand and torch's own cross-entropy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from efficientzero.networks import ScalarRegression, ScalarSupport
from efficientzero.networks.supports.scalar_support import inverse_transform, transform


def test_transform_equals_numbers_computed_by_hand() -> None:
    values = torch.tensor([0.0, 3.0, -8.0, 24.0])
    wanted = torch.tensor([0.0, 1.003, -2.008, 4.024])  # sign(x) (sqrt(|x| + 1) - 1) + 0.001 x
    torch.testing.assert_close(transform(values), wanted)
    torch.testing.assert_close(inverse_transform(wanted), values)


def test_bound_300_stands_for_a_raw_value_of_58706() -> None:
    raw = inverse_transform(torch.tensor([300.0, -300.0]))
    torch.testing.assert_close(raw, torch.tensor([58705.6, -58705.6]), rtol=0, atol=0.1)


def test_inverse_equals_the_textbook_formula_in_double_precision() -> None:
    v = torch.linspace(-300, 300, 1201, dtype=torch.float64)
    root = ((1 + 4 * 0.001 * (v.abs() + 1 + 0.001)).sqrt() - 1) / (2 * 0.001)
    torch.testing.assert_close(inverse_transform(v), v.sign() * (root**2 - 1), rtol=1e-9, atol=1e-9)


def test_small_values_survive_float32() -> None:
    values = torch.tensor([1e-6, -3e-5, 4e-4])
    torch.testing.assert_close(inverse_transform(transform(values)), values, rtol=1e-5, atol=0)


@given(value=st.floats(-58_000, 58_000, width=32))
@settings(max_examples=100, deadline=None)
def test_decode_undoes_encode(value: float) -> None:
    support = ScalarSupport(300)
    values = torch.tensor([value])
    decoded = support.decode(support.encode(values).log())
    torch.testing.assert_close(decoded, values, rtol=1e-4, atol=1e-5)


def test_encode_splits_a_value_between_its_two_neighbours() -> None:
    # h(3) = 1.003: 0.997 on bin +1, 0.003 on bin +2, of bins -2..2.
    encoded = ScalarSupport(2).encode(torch.tensor([[3.0], [0.0]]))
    wanted = torch.tensor([[[0.0, 0.0, 0.0, 0.997, 0.003]], [[0.0, 0.0, 1.0, 0.0, 0.0]]])
    torch.testing.assert_close(encoded, wanted)


def test_values_beyond_the_bound_are_encoded_as_the_bound() -> None:
    encoded = ScalarSupport(2).encode(torch.tensor([1e6, -1e6]))
    wanted = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(encoded, wanted)


def test_equal_logits_decode_to_zero() -> None:
    decoded = ScalarSupport(300).decode(torch.zeros(4, 601))
    torch.testing.assert_close(decoded, torch.zeros(4), rtol=0, atol=1e-5)


def test_decode_of_bfloat16_logits_is_float32_also_under_autocast() -> None:
    support = ScalarSupport(300)
    logits = support.encode(torch.tensor([250.0])).log().clamp(min=-50.0).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decoded = support.decode(logits)
    assert decoded.dtype == torch.float32
    torch.testing.assert_close(decoded, support.decode(logits.float()), rtol=0, atol=0)


def test_cross_entropy_equals_torchs_with_the_encoded_targets() -> None:
    support = ScalarSupport(10)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 5, 21, generator=generator) * 3
    values = torch.randn(7, 5, generator=generator) * 100
    wanted = F.cross_entropy(
        logits.flatten(0, 1), support.encode(values).flatten(0, 1), reduction="none"
    )
    torch.testing.assert_close(support.loss(logits, values), wanted.view(7, 5))


def test_gradient_of_cross_entropy_is_probabilities_minus_target() -> None:
    support = ScalarSupport(4)
    logits = torch.randn(3, 9, generator=torch.Generator().manual_seed(1)).requires_grad_()
    values = torch.tensor([1.7, -30.0, 1e5])
    support.loss(logits, values).sum().backward()
    wanted = logits.detach().softmax(-1) - support.encode(values)
    torch.testing.assert_close(logits.grad, wanted)


def test_nan_is_never_hidden() -> None:
    support = ScalarSupport(5)
    nan = torch.tensor([float("nan")])
    assert support.decode(torch.full((1, 11), float("nan"))).isnan().all()
    assert support.loss(torch.zeros(1, 11), nan).isnan().all()
    assert support.encode(nan).isnan().any()


def test_targets_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got shape \(3, 1\), wanted \(3,\)"):
        ScalarSupport(5).loss(torch.zeros(3, 11), torch.zeros(3, 1))


def test_bound_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="got 0, wanted at least 1"):
        ScalarSupport(0)


def test_bins_survive_a_cast_of_the_module_to_bfloat16() -> None:
    support = ScalarSupport(300).to(torch.bfloat16)
    assert int(support.bins[-2]) == 299
    assert support.state_dict() == {}


def test_largest_target_is_what_the_bound_stands_for() -> None:
    assert ScalarSupport(300).largest == pytest.approx(58705.6, abs=0.1)
    assert ScalarSupport(1).largest == pytest.approx(2.98806, abs=1e-5)  # h(2.98806) = 1
    assert ScalarRegression().largest == float("inf")


def test_number_is_half_the_squared_distance_in_transformed_space() -> None:
    # h(3) = 1.003, h(-8) = -2.008: 0.5 * 0.997^2 and 0.5 * 0.008^2.
    outputs, values = torch.tensor([[2.0], [-2.0]]), torch.tensor([3.0, -8.0])
    losses = ScalarRegression().loss(outputs, values)
    torch.testing.assert_close(losses, torch.tensor([0.4970045, 0.000032]), rtol=1e-4, atol=1e-9)


def test_number_is_decoded_by_the_inverse_transform() -> None:
    outputs = torch.tensor([[[1.003], [-2.008]], [[4.024], [0.0]]])
    torch.testing.assert_close(
        ScalarRegression().decode(outputs), torch.tensor([[3.0, -8.0], [24.0, 0.0]])
    )
    assert ScalarRegression().decode(outputs.bfloat16()).dtype == torch.float32


def test_number_of_another_shape_or_not_finite_is_not_hidden() -> None:
    with pytest.raises(ValueError, match=r"got shape \(3, 1\), wanted \(3,\)"):
        ScalarRegression().loss(torch.zeros(3, 1), torch.zeros(3, 1))
    nan = torch.full((1, 1), float("nan"))
    assert ScalarRegression().decode(nan).isnan().all()
    assert ScalarRegression().loss(torch.zeros(1, 1), nan[0]).isnan().all()

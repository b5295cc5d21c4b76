"""Weights as bytes: what goes in comes out, and damage is one clear error."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from efficientzero.config.fields import NetworkConfig
from efficientzero.rpc.weights_codec import decode_weights, encode_weights
from efficientzero.schema import EnvSpec
from tests.support.networks import sized_network
from tests.unit.efficientzero.networks.test_networks import (
    SMALL_IMAGE,
    VECTOR,
    build,
    random_observations,
    run_both,
)


def small_state() -> dict[str, Tensor]:
    return {
        "layer.weight": torch.arange(6, dtype=torch.float32).view(2, 3),
        "layer.bias": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "norm.num_batches_tracked": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }


PAYLOAD = encode_weights(small_state())


def assert_same(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert list(got) == list(wanted)
    for name, tensor in wanted.items():
        assert got[name].dtype == tensor.dtype
        assert torch.equal(got[name], tensor)


def test_decode_undoes_encode() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(decode_weights(PAYLOAD, small_state()), small_state())


def test_channels_last_network_weights_make_the_round_trip() -> None:
    config = NetworkConfig(channels=8, lstm_hidden_size=8, projection_size=8)
    spec = EnvSpec(
        env_id="x", frame_shape=(1, 8, 8), frame_dtype="uint8", num_actions=2, num_stacked_frames=2
    )
    net = sized_network(config, spec)
    state = net.inference_state_dict()
    decoded = decode_weights(encode_weights(state), state)
    assert_same(decoded, state)
    net.load_inference_state_dict(decoded)


def test_same_weights_make_the_same_bytes() -> None:
    assert encode_weights(small_state()) == PAYLOAD


def test_decoded_tensors_are_writable_and_own_their_memory() -> None:
    decoded = decode_weights(PAYLOAD, small_state())
    decoded["layer.weight"].add_(1.0)
    assert_same(decode_weights(PAYLOAD, small_state()), small_state())


def test_missing_tensor_is_named() -> None:
    expected = {**small_state(), "head.bias": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"missing tensor 'head.bias'"):
        decode_weights(PAYLOAD, expected)


def test_unexpected_tensor_is_named() -> None:
    expected = {k: v for k, v in small_state().items() if k != "layer.bias"}
    with pytest.raises(ValueError, match=r"unexpected tensor 'layer.bias'"):
        decode_weights(PAYLOAD, expected)


def test_wrong_shape_is_named_with_got_and_wanted() -> None:
    expected = {**small_state(), "layer.weight": torch.zeros(3, 2)}
    with pytest.raises(ValueError, match=r"'layer.weight': got shape \(2, 3\), wanted \(3, 2\)"):
        decode_weights(PAYLOAD, expected)


def test_wrong_dtype_is_named_with_got_and_wanted() -> None:
    expected = {**small_state(), "layer.bias": torch.zeros(2)}
    message = "'layer.bias': got dtype torch.bfloat16, wanted torch.float32"
    with pytest.raises(ValueError, match=message):
        decode_weights(PAYLOAD, expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value: float) -> None:
    state = small_state()
    state["layer.weight"][1, 2] = value
    with pytest.raises(ValueError, match=r"'layer.weight': got values that are not finite"):
        encode_weights(state)


def test_weights_that_are_not_finite_are_refused_on_the_way_in_too() -> None:
    one, nan = torch.ones(1), torch.tensor([float("nan")])
    raw_one, raw_nan = one.numpy().tobytes(), nan.numpy().tobytes()
    payload = encode_weights({"w": one})
    assert payload.endswith(raw_one)
    with pytest.raises(ValueError, match=r"'w': got values that are not finite"):
        decode_weights(payload.removesuffix(raw_one) + raw_nan, {"w": one})


def test_every_truncation_is_a_value_error() -> None:
    for length in range(len(PAYLOAD)):
        with pytest.raises(ValueError, match=f"weights: {length} bytes are no safetensors"):
            decode_weights(PAYLOAD[:length], small_state())


@given(garbage=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_garbage_is_a_value_error(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="weights: "):
        decode_weights(garbage, small_state())


@given(position=st.integers(0, len(PAYLOAD) - 1), flip=st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_a_damaged_byte_is_a_value_error_or_changes_a_number(position: int, flip: int) -> None:
    damaged = bytearray(PAYLOAD)
    damaged[position] ^= flip
    try:
        decoded = decode_weights(bytes(damaged), small_state())
    except ValueError:
        return
    assert list(decoded) == list(small_state())


def test_rounded_matrices_come_back_in_float32_and_vectors_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        "matrix": torch.randn(64, 64, generator=generator),
        "kernel": torch.randn(8, 4, 3, 3, generator=generator),
        "statistics": torch.randn(64, generator=generator),
        "count": torch.tensor(7),
    }
    payload = encode_weights(state, dtype=torch.bfloat16)
    assert len(payload) < 0.6 * len(encode_weights(state))
    decoded = decode_weights(payload, state)
    rounded = {
        name: tensor.bfloat16().float() if name in ("matrix", "kernel") else tensor
        for name, tensor in state.items()
    }
    assert not torch.equal(rounded["matrix"], state["matrix"])
    assert_same(decoded, rounded)


def test_a_rounded_vector_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"'bias': got dtype torch\.bfloat16, wanted torch\.float32"
    ):
        decode_weights(encode_weights({"bias": torch.ones(3).bfloat16()}), {"bias": torch.ones(3)})


@pytest.mark.parametrize("spec", [SMALL_IMAGE, VECTOR])
def test_rounded_weights_change_a_bfloat16_search_in_the_heads_last_layers_alone(
    spec: EnvSpec,
) -> None:
    network, rounded = build(spec), build(spec)
    payload = encode_weights(network.inference_state_dict(), dtype=torch.bfloat16)
    rounded.load_inference_state_dict(decode_weights(payload, network.inference_state_dict()))
    answers = []
    for net in (network, rounded):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            answers.append(run_both(net.eval(), random_observations(spec, 4)))
    (root, step), (rounded_root, rounded_step) = answers
    assert torch.equal(root.latents, rounded_root.latents)
    assert torch.equal(step.latents, rounded_step.latents)
    assert torch.equal(step.lstm_states, rounded_step.lstm_states)
    assert not torch.equal(root.policy_logits, rounded_root.policy_logits)
    torch.testing.assert_close(root.policy_logits, rounded_root.policy_logits, rtol=0.02, atol=0.02)

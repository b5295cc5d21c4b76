"""Weights as bytes and back, in the safetensors format: no code runs when they are read.

Called by the learner's publisher (encode) and by all clients that fetch weights (decode).
"""

from __future__ import annotations

from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor


def encode_weights(state: Mapping[str, Tensor], *, dtype: torch.dtype = torch.float32) -> bytes:
    """Return ``state`` as bytes; the tensors may live on any device.

    Args:
        state: tensors by name.
        dtype: float32, or bfloat16 to round all float32 matrices and kernels to it. bfloat16
            autocast rounds them anyway, except the heads' last layers, which run in float32.
            Vectors (biases, statistics of norms) stay as they are.

    Raises:
        ValueError: a tensor holds NaN or infinity. Such weights must never reach an actor.
    """
    tensors = {
        name: (tensor.to(dtype) if _may_be_rounded(tensor) else tensor).detach().cpu().contiguous()
        for name, tensor in state.items()
    }
    for name, tensor in tensors.items():
        _check_finite(name, tensor)
    return safetensors.torch.save(tensors)


def decode_weights(payload: bytes, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of ``payload``, on the CPU, in the order of ``expected``.

    Tensors that were rounded for sending are returned in the expected dtype.

    Args:
        payload: a result of ``encode_weights``.
        expected: tensors of the wanted names, shapes and dtypes; their contents do not matter.

    Raises:
        OtherNetwork: the first tensor that is missing, unexpected, of another shape or dtype than
            expected.
        ValueError: the payload is damaged, or has a tensor that is not finite.
    """
    try:
        tensors = safetensors.torch.load(payload)
    except (SafetensorError, KeyError, AssertionError) as error:
        # KeyError, AssertionError: a damaged header that names an unknown dtype or size.
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"weights: {len(payload)} bytes are no safetensors: {reason}") from error
    for name in expected:
        if name not in tensors:
            raise OtherNetwork(f"weights: missing tensor {name!r}")
    for name, tensor in tensors.items():
        if name not in expected:
            raise OtherNetwork(f"weights: unexpected tensor {name!r}")
        _check_like(name, tensor, expected[name])
        _check_finite(name, tensor)
    return {name: tensors[name].to(wanted.dtype) for name, wanted in expected.items()}


class OtherNetwork(ValueError):
    """Undamaged weights, but of another network."""


def _may_be_rounded(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.ndim > 1


def _check_like(name: str, tensor: Tensor, wanted: Tensor) -> None:
    if tensor.shape != wanted.shape:
        got, shape = tuple(tensor.shape), tuple(wanted.shape)
        raise OtherNetwork(f"weights: {name!r}: got shape {got}, wanted {shape}")
    is_rounded = tensor.dtype == torch.bfloat16 and _may_be_rounded(wanted)
    if tensor.dtype != wanted.dtype and not is_rounded:
        raise OtherNetwork(f"weights: {name!r}: got dtype {tensor.dtype}, wanted {wanted.dtype}")


def _check_finite(name: str, tensor: Tensor) -> None:
    if not torch.isfinite(tensor).all():
        raise ValueError(f"weights: {name!r}: got values that are not finite")

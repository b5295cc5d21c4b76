"""Convolutions, LSTM steps and decoding on a CPU, as operators of torch that recordings can hold.

Own code (``kernels/``), because this is most of a search's time and torch leaves much of it on the
table (benchmarks/README.md): its oneDNN takes a convolution's direct sum, its NNPACK transforms the
weights at every call, and an LSTM's gates go through memory several times. No gradients.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from efficientzero import _kernels

_MOST_THREADS = 2  # a kernel runs on one; from three on, torch's own are as quick
_IS_QUICK = _kernels.INSTRUCTION_SET != "portable"
_SETS = ("avx512", "avx2", "portable")
_VARIABLE = "EFFICIENTZERO_KERNELS"
_POINTS = 64
_GATES = 4

# G of F(6, 3) with the points 0, 1, -1, 2, -2, 1/2, -1/2 and infinity (Lavin and Gray, 2016).
_FILTER_TRANSFORM = (
    (1.0, 0.0, 0.0),
    (-2 / 9, -2 / 9, -2 / 9),
    (-2 / 9, 2 / 9, -2 / 9),
    (1 / 90, 1 / 45, 2 / 45),
    (1 / 90, -1 / 45, 2 / 45),
    (32 / 45, 16 / 45, 8 / 45),
    (32 / 45, -16 / 45, 8 / 45),
    (0.0, 0.0, 1.0),
)


if os.environ.get(_VARIABLE, _SETS[0]) not in _SETS:
    raise ValueError(
        f"{_VARIABLE}: got {os.environ[_VARIABLE]!r}, wanted one of {', '.join(_SETS)}"
    )


def convolution_pays(in_channels: int, out_channels: int) -> bool:
    """Return whether ``convolve_3x3`` takes such channels and is the quickest in this process."""
    fits = in_channels % _kernels.CHANNEL_MULTIPLE == out_channels % _kernels.CHANNEL_MULTIPLE == 0
    return fits and _IS_QUICK and torch.get_num_threads() <= _MOST_THREADS


def lstm_pays(hidden_size: int) -> bool:
    """Return whether ``step_lstm`` takes such an LSTM and is the quickest in this process."""
    fits = hidden_size % _kernels.UNIT_MULTIPLE == 0
    return fits and _IS_QUICK and torch.get_num_threads() <= _MOST_THREADS


def transformed_weights(weight: Tensor) -> Tensor:
    """Return weights f32 [out, in, 3, 3] as ``convolve_3x3`` wants them, f32 [64, in, out]."""
    g = torch.tensor(_FILTER_TRANSFORM, dtype=torch.float64)
    points = torch.einsum("yi,xj,ocij->yxco", g, g, weight.double())
    return points.flatten(0, 1).float().contiguous()


def convolve_3x3(
    images: Tensor, weights: Tensor, bias: Tensor, *, added: Tensor | None = None, relu: bool
) -> Tensor:
    """Convolve with stride 1 and padding 1, by Winograd's method.

    The result differs from the direct sum by some 1e-5 of its largest element.

    Args:
        images: f32 [B, in, H, W], quickest as channels-last.
        weights: f32 [64, in, out], from ``transformed_weights``.
        bias: f32 [out].
        added: f32 [B, out, H, W], added to the sums.
        relu: cut negative sums off at the end.

    Returns:
        f32 [B, out, H, W], channels-last.

    Raises:
        ValueError: a shape or dtype is wrong.
    """
    outputs: Tensor = torch.ops.efficientzero.convolve_3x3(images, weights, bias, added, relu)
    return outputs


def packed_gates(gates: Tensor) -> Tensor:
    """Return rows by gate, f32 [4 * hidden, ...], i, f, g, o, as ``step_lstm`` wants them.

    Returns:
        f32 [hidden / 16, ..., 4, 16]: the gates of 16 units side by side, in the order i, f, o, g.
    """
    units = _kernels.UNIT_MULTIPLE
    by_gate = gates.view(_GATES, -1, units, *gates.shape[1:])[[0, 1, 3, 2]]
    return by_gate.transpose(0, 1).movedim((1, 2), (-2, -1)).contiguous()


def step_lstm(inputs: Tensor, states: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Step an LSTM.

    Args:
        inputs: f32 [B, input].
        states: f32 [B, 2, hidden], h and c.
        weights: f32 [hidden / 16, input + hidden, 4, 16], from ``packed_gates``.
        bias: f32 [hidden / 16, 4, 16], alike.

    Returns:
        The next states, alike.

    Raises:
        ValueError: a shape or dtype is wrong.
    """
    next_states: Tensor = torch.ops.efficientzero.step_lstm(inputs, states, weights, bias)
    return next_states


def decode_logits(logits: Tensor) -> Tensor:
    """Return the raw values, f32 [B], of logits f32 [B, bins]: ``ScalarSupport.decode``.

    Raises:
        ValueError: a shape or dtype is wrong.
    """
    values: Tensor = torch.ops.efficientzero.decode_logits(logits)
    return values


def _convolve_3x3(
    images: Tensor, weights: Tensor, bias: Tensor, added: Tensor | None, relu: bool
) -> Tensor:
    batch, in_channels, height, width = images.shape
    out_channels = len(bias)
    if in_channels % _kernels.CHANNEL_MULTIPLE or out_channels % _kernels.CHANNEL_MULTIPLE:
        got, wanted = f"{in_channels} in, {out_channels} out", _kernels.CHANNEL_MULTIPLE
        raise ValueError(f"channels: got {got}, wanted a multiple of {wanted} each")
    _require("images", images, images.shape)
    _require("weights", weights, (_POINTS, in_channels, out_channels))
    _require("bias", bias, (out_channels,))
    images = images.contiguous(memory_format=torch.channels_last)
    outputs = torch.empty((batch, out_channels, height, width), memory_format=torch.channels_last)
    if added is not None:
        _require("added", added, outputs.shape)
        added = added.contiguous(memory_format=torch.channels_last)
    _kernels.convolve_3x3(
        images.data_ptr(),
        weights.data_ptr(),
        bias.data_ptr(),
        0 if added is None else added.data_ptr(),
        outputs.data_ptr(),
        batch,
        height,
        width,
        in_channels,
        out_channels,
        relu,
    )
    return outputs


def _step_lstm(inputs: Tensor, states: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    (batch, input_size), hidden_size = inputs.shape, states.shape[2]
    _require("inputs", inputs, inputs.shape)
    panels, units = hidden_size // _kernels.UNIT_MULTIPLE, _kernels.UNIT_MULTIPLE
    _require("states", states, (batch, 2, panels * units))
    _require("weights", weights, (panels, input_size + hidden_size, _GATES, units))
    _require("bias", bias, (panels, _GATES, units))
    inputs, states = inputs.contiguous(), states.contiguous()
    next_states = torch.empty_like(states)
    _kernels.step_lstm(
        inputs.data_ptr(),
        states.data_ptr(),
        weights.data_ptr(),
        bias.data_ptr(),
        next_states.data_ptr(),
        batch,
        input_size,
        hidden_size,
    )
    return next_states


def _decode_logits(logits: Tensor) -> Tensor:
    num_rows, num_bins = logits.shape
    _require("logits", logits, logits.shape)
    logits, values = logits.contiguous(), torch.empty(num_rows)
    _kernels.decode_logits(logits.data_ptr(), values.data_ptr(), num_rows, num_bins)
    return values


def _require(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape or tensor.dtype != torch.float32:
        got = f"{tensor.dtype} {list(tensor.shape)}"
        raise ValueError(f"{name}: got {got}, wanted torch.float32 {list(shape)}")


_LIBRARY = torch.library.Library("efficientzero", "DEF")  # type: ignore[no-untyped-call]
for _operator, _function in (
    (
        "convolve_3x3(Tensor images, Tensor weights, Tensor bias, Tensor? added, bool relu)",
        _convolve_3x3,
    ),
    ("step_lstm(Tensor inputs, Tensor states, Tensor weights, Tensor bias)", _step_lstm),
    ("decode_logits(Tensor logits)", _decode_logits),
):
    _name = _LIBRARY.define(f"{_operator} -> Tensor")  # type: ignore[no-untyped-call]
    _LIBRARY.impl(_name, _function, "CPU")  # type: ignore[no-untyped-call]

"""The CPU's kernels as operators of torch: shapes checked, tensors turned into addresses.

Importing it registers them; ``cpu_kernels`` says what they do. Those that end in ``_into`` write to
their last operand and return nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from efficientzero.inference.cpu import _kernels

POINTS = 64
"""Of a transformed patch of 8x8."""
GATES = 4
"""Of an LSTM."""


def _convolve_3x3(
    images: Tensor,
    weights: Tensor,
    bias: Tensor,
    *,
    nodes: Tensor | None,
    added: Tensor | None,
    action_map: Tensor | None,
    actions: Tensor | None,
    relu: bool,
) -> Tensor:
    batch, _, height, width = images.shape[-4:]
    shape = (batch, len(bias), height, width)
    outputs = torch.empty(shape, memory_format=torch.channels_last)
    _convolve_3x3_into(
        images,
        weights,
        bias,
        nodes=nodes,
        added=added,
        action_map=action_map,
        actions=actions,
        relu=relu,
        outputs=outputs,
    )
    return outputs


def _convolve_3x3_into(
    images: Tensor,
    weights: Tensor,
    bias: Tensor,
    *,
    nodes: Tensor | None,
    added: Tensor | None,
    action_map: Tensor | None,
    actions: Tensor | None,
    relu: bool,
    outputs: Tensor,
) -> None:
    batch, in_channels, height, width = images.shape[-4:]
    out_channels = len(bias)
    if in_channels % _kernels.CHANNEL_MULTIPLE or out_channels % _kernels.CHANNEL_MULTIPLE:
        got, wanted = f"{in_channels} in, {out_channels} out", _kernels.CHANNEL_MULTIPLE
        raise ValueError(f"channels: got {got}, wanted a multiple of {wanted} each")
    num_nodes = _num_nodes("images", images, nodes, (batch, in_channels, height, width))
    _require("weights", weights, (POINTS, in_channels, out_channels))
    _require("bias", bias, (out_channels,))
    _require_contiguous("outputs", _rows(outputs), (batch, height, width, out_channels))
    if added is not None:
        _require("added", added, outputs.shape)
    if action_map is not None:
        _require("action_map", action_map, (in_channels, height, width))
        _require("bias", bias, (in_channels,))
    addresses = _Addresses()
    _kernels.convolve_3x3(
        addresses.of(_rows(images)),
        num_nodes,
        addresses.of_indices("nodes", nodes, (batch,)),
        addresses.of(weights),
        addresses.of(bias),
        addresses.of(None if added is None else _rows(added)),
        addresses.of(None if action_map is None else _rows(action_map)),
        addresses.of_indices("actions", actions, (batch,)),
        outputs.data_ptr(),
        batch,
        height,
        width,
        in_channels,
        out_channels,
        relu,
    )


def _step_lstm(
    inputs: Tensor,
    states: Tensor,
    weights: Tensor,
    bias: Tensor,
    *,
    nodes: Tensor | None,
    keeps: Tensor | None,
) -> Tensor:
    next_states = torch.empty(states.shape[-3:])
    _step_lstm_into(
        inputs, states, weights, bias, nodes=nodes, keeps=keeps, next_states=next_states
    )
    return next_states


def _step_lstm_into(
    inputs: Tensor,
    states: Tensor,
    weights: Tensor,
    bias: Tensor,
    *,
    nodes: Tensor | None,
    keeps: Tensor | None,
    next_states: Tensor,
) -> None:
    (batch, input_size), hidden_size = inputs.shape, states.shape[-1]
    _require("inputs", inputs, inputs.shape)
    panels, units = hidden_size // _kernels.UNIT_MULTIPLE, _kernels.UNIT_MULTIPLE
    num_nodes = _num_nodes("states", states, nodes, (batch, 2, panels * units))
    _require("weights", weights, (panels, input_size + hidden_size, GATES, units))
    _require("bias", bias, (panels, GATES, units))
    _require_contiguous("next_states", next_states, (batch, 2, hidden_size))
    addresses = _Addresses()
    _kernels.step_lstm(
        addresses.of(inputs),
        addresses.of(states),
        num_nodes,
        addresses.of_indices("nodes", nodes, (batch,)),
        addresses.of_indices("keeps", keeps, (num_nodes, batch)),
        addresses.of(weights),
        addresses.of(bias),
        next_states.data_ptr(),
        batch,
        input_size,
        hidden_size,
    )


def decode(logits: Tensor, values: Tensor) -> None:
    """Write the raw values of logits f32 [B, bins] to f32 [B], without the dispatcher's cost."""
    num_rows, num_bins = logits.shape
    _require("logits", logits, logits.shape)
    _require_contiguous("values", values, (num_rows,))
    logits = logits.contiguous()
    _kernels.decode_logits(logits.data_ptr(), values.data_ptr(), num_rows, num_bins)


def _decode_logits(logits: Tensor) -> Tensor:
    values = torch.empty(len(logits))
    decode(logits, values)
    return values


class _Addresses:
    """Addresses of contiguous arrays, of which those made here live as long as this."""

    def __init__(self) -> None:
        self._held: list[Tensor] = []

    def of(self, tensor: Tensor | None) -> int:
        if tensor is None:
            return 0
        self._held.append(tensor.contiguous())
        return self._held[-1].data_ptr()

    def of_indices(self, name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> int:
        if tensor is not None and (tensor.shape != shape or tensor.dtype != torch.int32):
            got = f"{tensor.dtype} {list(tensor.shape)}"
            raise ValueError(f"{name}: got {got}, wanted torch.int32 {list(shape)}")
        return self.of(tensor)


def _rows(images: Tensor) -> Tensor:
    """Return [..., channels, height, width] as [..., height, width, channels]."""
    return images.movedim(-3, -1)


def _num_nodes(name: str, pool: Tensor, nodes: Tensor | None, shape: tuple[int, ...]) -> int:
    """Return 0 for an array of ``shape``, and N for [N, *shape], which goes with nodes."""
    num_nodes = 0 if nodes is None else len(pool)
    _require(name, pool, shape if nodes is None else (num_nodes, *shape))
    return num_nodes


def _require(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape or tensor.dtype != torch.float32:
        got = f"{tensor.dtype} {list(tensor.shape)}"
        raise ValueError(f"{name}: got {got}, wanted torch.float32 {list(shape)}")


def _require_contiguous(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    _require(name, tensor, shape)
    if not tensor.is_contiguous():
        raise ValueError(f"{name}: got strides {tensor.stride()}, wanted rows without gaps")


_CONVOLUTION = (
    "Tensor images, Tensor weights, Tensor bias, *, Tensor? nodes, Tensor? added, "
    "Tensor? action_map, Tensor? actions, bool relu"
)
_LSTM = "Tensor inputs, Tensor states, Tensor weights, Tensor bias, *, Tensor? nodes, Tensor? keeps"

_LIBRARY = torch.library.Library("efficientzero", "DEF")  # type: ignore[no-untyped-call]
for _operator, _function in (
    (f"convolve_3x3({_CONVOLUTION}) -> Tensor", _convolve_3x3),
    (f"convolve_3x3_into({_CONVOLUTION}, Tensor(a!) outputs) -> ()", _convolve_3x3_into),
    (f"step_lstm({_LSTM}) -> Tensor", _step_lstm),
    (f"step_lstm_into({_LSTM}, Tensor(a!) next_states) -> ()", _step_lstm_into),
    ("decode_logits(Tensor logits) -> Tensor", _decode_logits),
):
    _name = _LIBRARY.define(_operator)  # type: ignore[no-untyped-call]
    _LIBRARY.impl(_name, _function, "CPU")  # type: ignore[no-untyped-call]

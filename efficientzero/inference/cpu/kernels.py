"""Convolutions, LSTM steps and decoding on a CPU, by kernels of our own.

Own code (``kernels/``), because this is most of a search's time and torch is much slower
(benchmarks/README.md): its oneDNN takes a convolution's direct sum, its NNPACK transforms the
weights at every call, and an LSTM's gates go through memory several times. They are operators of
torch (``cpu_operators``), which recordings can hold. No gradients.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from torch import Tensor

from efficientzero.inference.cpu import _kernels
from efficientzero.inference.cpu import operators as cpu_operators

_MOST_THREADS = 2  # a kernel runs on one; from three on, torch's own are as quick
_IS_QUICK = _kernels.INSTRUCTION_SET != "portable"
_SETS = ("avx512", "avx2", "portable")
_VARIABLE = "EFFICIENTZERO_KERNELS"

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


class ActionTerm(NamedTuple):
    """The action's part of the dynamics' convolution: actions * action_map."""

    action_map: Tensor  # f32 [out, H, W], channels-last
    actions: Tensor  # i32 [B]


def convolve_3x3(
    images: Tensor,
    weights: Tensor,
    bias: Tensor,
    *,
    added: Tensor | None = None,
    action: ActionTerm | None = None,
    relu: bool,
    nodes: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Convolve with stride 1 and padding 1, by Winograd's method.

    The result differs from the direct sum by some 1e-5 of its largest element.

    Args:
        images: f32 [B, in, H, W], quickest as channels-last; or, with ``nodes``, [N, B, in, H, W].
        weights: f32 [64, in, out], from ``transformed_weights``.
        bias: f32 [out].
        added: f32 [B, out, H, W], added to the sums.
        action: adds the images themselves and the action's part.
        relu: cut negative sums off at the end.
        nodes: i32 [B]: image i is ``images[nodes[i], i]``, read where it lies.
        out: f32 [B, out, H, W], channels-last: where to write; no image that is read.

    Returns:
        f32 [B, out, H, W], channels-last: ``out``, if given.

    Raises:
        ValueError: a shape, dtype or layout is wrong, or a node is not in 0..N-1.
    """
    action_map, actions = (None, None) if action is None else action
    operands = {
        "nodes": nodes,
        "added": added,
        "action_map": action_map,
        "actions": actions,
        "relu": relu,
    }
    operators = torch.ops.efficientzero
    if out is None:
        outputs: Tensor = operators.convolve_3x3(images, weights, bias, **operands)
        return outputs
    operators.convolve_3x3_into(images, weights, bias, **operands, outputs=out)
    return out


def packed_gates(gates: Tensor) -> Tensor:
    """Return rows by gate, f32 [4 * hidden, ...], i, f, g, o, as ``step_lstm`` wants them.

    Returns:
        f32 [hidden / 16, ..., 4, 16]: the gates of 16 units side by side, in the order i, f, o, g.
    """
    units = _kernels.UNIT_MULTIPLE
    by_gate = gates.view(cpu_operators.GATES, -1, units, *gates.shape[1:])[[0, 1, 3, 2]]
    return by_gate.transpose(0, 1).movedim((1, 2), (-2, -1)).contiguous()


def step_lstm(
    inputs: Tensor,
    states: Tensor,
    weights: Tensor,
    bias: Tensor,
    *,
    nodes: Tensor | None = None,
    keeps: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Step an LSTM.

    Args:
        inputs: f32 [B, input].
        states: f32 [B, 2, hidden], h and c; or, with ``nodes``, [N, B, 2, hidden].
        weights: f32 [hidden / 16, input + hidden, 4, 16], from ``packed_gates``.
        bias: f32 [hidden / 16, 4, 16], alike.
        nodes: i32 [B]: the state of row i is ``states[nodes[i], i]``, read where it lies.
        keeps: i32 [N, B], with ``nodes`` only: 0 where zeros take the place of a node's state.
        out: f32 [B, 2, hidden], contiguous: where to write; no state that is read.

    Returns:
        The next states, f32 [B, 2, hidden]: ``out``, if given.

    Raises:
        ValueError: a shape, dtype or layout is wrong, or a node is not in 0..N-1.
    """
    operands = (inputs, states, weights, bias)
    operators = torch.ops.efficientzero
    if out is None:
        next_states: Tensor = operators.step_lstm(*operands, nodes=nodes, keeps=keeps)
        return next_states
    operators.step_lstm_into(*operands, nodes=nodes, keeps=keeps, next_states=out)
    return out


def decode_logits(logits: Tensor) -> Tensor:
    """Return the raw values, f32 [B], of logits f32 [B, bins]: ``ScalarSupport.decode``.

    Raises:
        ValueError: a shape or dtype is wrong.
    """
    values: Tensor = torch.ops.efficientzero.decode_logits(logits)
    return values


def decode_logits_into(logits: Tensor, values: Tensor) -> None:
    """Write to ``values``, f32 [B], contiguous, what ``decode_logits`` returns; not recorded.

    Raises:
        ValueError: a shape, dtype or layout is wrong.
    """
    cpu_operators.decode(logits, values)

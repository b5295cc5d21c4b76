"""The project's CPU kernels compared with torch's: ``python -m benchmarks.search.kernel_cost``.

CPU time of one thread, the fastest of several rounds in turns. All weights are prepared beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measuring import cpu_seconds
from efficientzero.inference.cpu import kernels
from efficientzero.networks import LstmCell

_CONVOLUTIONS = (
    *((1, 64, 6), (8, 64, 6), (64, 64, 6), (256, 64, 6)),  # latents of 96x96 frames
    *((16, 32, 48), (16, 64, 24)),  # their representation
    (8, 64, 10),
)
"""Images, channels in and out, height and width."""
_LSTM_SIZES = (576, 512)
_ROUNDS, _CALLS = 9, 10


@torch.inference_mode()
def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    print("| images, channels, size | oneDNN, us | own, us | |\n|---|---:|---:|---:|")
    for images, channels, size in _CONVOLUTIONS:
        x = torch.randn(images, channels, size, size)
        weight, bias = torch.randn(channels, channels, 3, 3), torch.zeros(channels)
        last = torch.channels_last
        x_last, weight_last = (
            x.contiguous(memory_format=last),
            weight.contiguous(memory_format=last),
        )
        points = kernels.transformed_weights(weight)
        direct = partial(F.conv2d, bias=bias, padding=1)
        spent = cpu_seconds(
            {
                "oneDNN": _repeated(partial(direct, x, weight)),
                "oneDNN, last": _repeated(partial(direct, x_last, weight_last)),
                "own": _repeated(partial(kernels.convolve_3x3, x_last, points, bias, relu=False)),
            },
            rounds=_ROUNDS,
        )
        theirs = min(*spent["oneDNN"], *spent["oneDNN, last"])
        _print(f"{images}, {channels}, {size}x{size}", theirs, min(spent["own"]))
    input_size, hidden_size = _LSTM_SIZES
    cell = LstmCell(input_size, hidden_size)
    weights = kernels.packed_gates(cell.weight)
    gate_bias = kernels.packed_gates(cell.bias_input + cell.bias_hidden)
    for rows in (8, 64):
        inputs, states = torch.randn(rows, input_size), torch.randn(rows, 2, hidden_size)
        own = partial(kernels.step_lstm, inputs, states, weights, gate_bias)
        spent = cpu_seconds(
            {"cell": _repeated(partial(cell, inputs, states)), "own": _repeated(own)},
            rounds=_ROUNDS,
        )
        name = f"LSTM {input_size} -> {hidden_size}, {rows} rows"
        _print(name, min(spent["cell"]), min(spent["own"]))


def _repeated(call: Callable[[], Tensor]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(_CALLS):
            call()

    return run


def _print(name: str, theirs: float, own: float) -> None:
    print(
        f"| {name} | {theirs / _CALLS * 1e6:.0f} | {own / _CALLS * 1e6:.0f} | {theirs / own:.1f}x |"
    )


if __name__ == "__main__":
    main()

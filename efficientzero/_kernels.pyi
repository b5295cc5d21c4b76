"""Arithmetic for inference on a CPU (compiled from `kernels/`), called by `cpu_kernels` only.

Tensors are addresses of contiguous f32 arrays, which nobody checks here. Every call runs on the
calling thread and releases the GIL. A row's or image's numbers do not depend on the others'; their
last bits depend on `INSTRUCTION_SET`.
"""

INSTRUCTION_SET: str
"""What this processor is used with: avx512, avx2 or portable."""
CHANNEL_MULTIPLE: int
"""A convolution's numbers of channels must be multiples of it."""
UNIT_MULTIPLE: int
"""An LSTM's hidden_size must be a multiple of it."""

def convolve_3x3(
    images: int,
    weights: int,
    bias: int,
    added: int,
    outputs: int,
    num_images: int,
    height: int,
    width: int,
    in_channels: int,
    out_channels: int,
    relu: bool,
    /,
) -> None:
    """Convolve with stride 1 and padding 1 by Winograd's method.

    Args:
        images: [num_images, height, width, in_channels].
        weights: [64, in_channels, out_channels], transformed.
        bias: [out_channels].
        added: added to the sums, like outputs; or 0.
        outputs: [num_images, height, width, out_channels], written.
        num_images: B.
        height: of an image.
        width: of an image.
        in_channels: a multiple of `CHANNEL_MULTIPLE`.
        out_channels: alike.
        relu: cut negative sums off at the end.
    """

def step_lstm(
    inputs: int,
    states: int,
    weights: int,
    bias: int,
    next_states: int,
    num_rows: int,
    input_size: int,
    hidden_size: int,
    /,
) -> None:
    """Step an LSTM.

    Args:
        inputs: [num_rows, input_size].
        states: [num_rows, 2, hidden_size], h and c.
        weights: [hidden_size / 16, input_size + hidden_size, 4, 16], gates i, f, o, g.
        bias: [hidden_size / 16, 4, 16].
        next_states: like states, written.
        num_rows: B.
        input_size: of a row.
        hidden_size: a multiple of `UNIT_MULTIPLE`.
    """

def decode_logits(logits: int, values: int, num_rows: int, num_bins: int, /) -> None:
    """Turn a head's logits into raw values: `ScalarSupport.decode`.

    Args:
        logits: [num_rows, num_bins].
        values: [num_rows], written.
        num_rows: B.
        num_bins: odd.
    """

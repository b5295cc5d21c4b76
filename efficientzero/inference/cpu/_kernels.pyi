"""Arithmetic for inference on a CPU (compiled from `kernels/`), called by `cpu_kernels` only.

Tensors are addresses of contiguous f32 arrays, indices those of i32 arrays; nobody checks here what
they are, but for the range of indices that pick what is read. Every call runs on the
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
    num_nodes: int,
    nodes: int,
    weights: int,
    bias: int,
    added: int,
    action_map: int,
    actions: int,
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
        images: [num_images, height, width, in_channels]; with nodes
            [num_nodes, num_images, height, width, in_channels], of which outputs are no part that
            is read.
        num_nodes: of the images; 0 without nodes.
        nodes: i32 [num_images], image i is images[nodes[i], i]; or 0.
        weights: [64, in_channels, out_channels], transformed.
        bias: [out_channels].
        added: added to the sums, like outputs; or 0.
        action_map: [height, width, out_channels]: image i + actions[i] * action_map is added as
            well, with as many channels in as out; or 0.
        actions: i32 [num_images]; or 0 with action_map.
        outputs: [num_images, height, width, out_channels], written.
        num_images: B.
        height: of an image.
        width: of an image.
        in_channels: a multiple of `CHANNEL_MULTIPLE`.
        out_channels: alike.
        relu: cut negative sums off at the end.

    Raises:
        ValueError: a node is not in 0..num_nodes-1.
    """

def step_lstm(
    inputs: int,
    states: int,
    num_nodes: int,
    nodes: int,
    keeps: int,
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
        states: [num_rows, 2, hidden_size], h and c; with nodes
            [num_nodes, num_rows, 2, hidden_size], of which next_states are no part that is read.
        num_nodes: of the states; 0 without nodes.
        nodes: i32 [num_rows], the state of row i is states[nodes[i], i]; or 0.
        keeps: i32 [num_nodes, num_rows], 0 where zeros take the place of a node's state; or 0.
        weights: [hidden_size / 16, input_size + hidden_size, 4, 16], gates i, f, o, g.
        bias: [hidden_size / 16, 4, 16].
        next_states: [num_rows, 2, hidden_size], written.
        num_rows: B.
        input_size: of a row.
        hidden_size: a multiple of `UNIT_MULTIPLE`.

    Raises:
        ValueError: a node is not in 0..num_nodes-1.
    """

def decode_logits(logits: int, values: int, num_rows: int, num_bins: int, /) -> None:
    """Turn a head's logits into raw values: `ScalarSupport.decode`.

    Args:
        logits: [num_rows, num_bins].
        values: [num_rows], written.
        num_rows: B.
        num_bins: odd.
    """

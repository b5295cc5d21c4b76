"""Layers of ``folded_network``: the network's own, made quick for inference on a CPU.

Batch normalisation in inference is a fixed scale and shift, so it is folded into the weights of the
layer before it. Each layer here keeps the modules that it stands for and derives its tensors from
them in ``refresh``, in place, so that a recorded graph follows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientzero.inference.cpu import kernels
from efficientzero.networks import Classifier, LstmCell, ResidualBlock

_FEW_CHANNELS = 16
_KERNEL = 3


class FoldedLayer(nn.Module):
    """A layer with tensors derived from live modules."""

    def refresh(self) -> None:
        """Derive the tensors again."""
        raise NotImplementedError

    def _hold(self, **tensors: Tensor) -> None:
        """Store derived tensors, in place from the second time on."""
        for name, tensor in tensors.items():
            if name in self._buffers:
                getattr(self, name).copy_(tensor)
            else:
                self.register_buffer(name, tensor.clone(), persistent=False)


class FoldedConv(FoldedLayer):
    """A convolution, the BatchNorm after it, and what is done to its sums.

    3x3 convolutions run by Winograd's method where that pays, and channels-last else. Where
    changing the layout costs more than it gains (1x1, few input channels) the input's stays.
    """

    weight: Tensor  # f32 [out, in, k, k], channels-last unless the layout stays; or [64, in, out]
    bias: Tensor  # f32 [out]

    def __init__(
        self, conv: nn.Conv2d, norm: nn.Module | None, *, in_channels: int | None = None
    ) -> None:
        """Fold; of the inputs only the first ``in_channels`` count, by default all."""
        super().__init__()
        self._sources = (conv, norm)  # in a tuple: no submodules, their tensors are not ours
        self._in_channels = conv.in_channels if in_channels is None else in_channels
        self._stride, self._padding = conv.stride, (conv.kernel_size[0] // 2,) * 2
        is_3x3 = conv.kernel_size == (_KERNEL, _KERNEL)
        self._keeps_layout = not is_3x3 or self._in_channels < _FEW_CHANNELS
        self.uses_winograd = (
            is_3x3
            and conv.stride == (1, 1)
            and kernels.convolution_pays(self._in_channels, conv.out_channels)
        )
        self.refresh()

    def refresh(self) -> None:
        """Derive weights and bias."""
        conv, norm = self._sources
        scale, bias = scale_and_shift(norm, conv.bias, conv.weight)
        weight = conv.weight[:, : self._in_channels] * scale[:, None, None, None]
        if self.uses_winograd:
            weight = kernels.transformed_weights(weight)
        elif not self._keeps_layout:
            weight = weight.contiguous(memory_format=torch.channels_last)
        self._hold(weight=weight, bias=bias)

    def forward(
        self,
        x: Tensor,
        *,
        added: Tensor | None = None,
        relu: bool = False,
        out: Tensor | None = None,
    ) -> Tensor:
        """Map [B, in, H, W] to [B, out, H', W']: the sums, plus ``added``, cut off at zero.

        Winograd's method can write them to ``out``, and does so in place of a new tensor.
        """
        if self.uses_winograd:
            return kernels.convolve_3x3(x, self.weight, self.bias, added=added, relu=relu, out=out)
        assert out is None
        y = F.conv2d(x, self.weight, self.bias, self._stride, self._padding)
        y = y if added is None else y.add_(added)
        return F.relu_(y) if relu else y


class FoldedResidualBlock(FoldedLayer):
    """``ResidualBlock`` with its norms folded."""

    def __init__(self, block: ResidualBlock) -> None:
        """Fold."""
        super().__init__()
        self.conv1 = FoldedConv(block.conv1, block.norm1)
        self.conv2 = FoldedConv(block.conv2, block.norm2)
        self.shortcut = None if block.shortcut is None else FoldedConv(block.shortcut, None)

    def refresh(self) -> None:
        """Derive nothing: the block has no own tensors."""

    def forward(self, x: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Map [B, in, H, W] to [B, out, H / stride, W / stride]; ``out`` is for Winograd's only."""
        residual = x if self.shortcut is None else self.shortcut(x)
        sums: Tensor = self.conv2(self.conv1(x, relu=True), added=residual, relu=True, out=out)
        return sums


class FoldedNorm(FoldedLayer):
    """A BatchNorm that follows no layer with weights."""

    scale: Tensor  # f32 [features]
    shift: Tensor  # f32 [features]

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        """Fold."""
        super().__init__()
        self._sources = (norm,)
        self.refresh()

    def refresh(self) -> None:
        """Derive scale and shift."""
        (norm,) = self._sources
        scale, shift = scale_and_shift(norm, None, norm.weight)
        self._hold(scale=scale, shift=shift)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, features] to the like."""
        return torch.addcmul(self.shift, x, self.scale)


class FoldedClassifier(FoldedLayer):
    """``Classifier`` with a BatchNorm, folded."""

    weight: Tensor  # f32 [hidden, in]
    bias: Tensor  # f32 [hidden]

    def __init__(self, classifier: Classifier) -> None:
        """Fold; the output layer is the live one."""
        super().__init__()
        self._sources = (classifier,)
        self.output = classifier.output
        self.refresh()

    def refresh(self) -> None:
        """Derive the hidden layer's weights."""
        (classifier,) = self._sources
        hidden = classifier.hidden
        scale, bias = scale_and_shift(classifier.norm, hidden.bias, hidden.weight)
        self._hold(weight=hidden.weight * scale[:, None], bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """Map [B, in_size] to logits f32 [B, out_size]."""
        logits: Tensor = self.output(F.relu_(F.linear(features, self.weight, self.bias)))
        return logits


class PackedLstmCell(FoldedLayer):
    """``LstmCell`` with its matrix in the order in which the kernel reads it."""

    weight: Tensor  # f32 [hidden / 16, input + hidden, 4, 16]
    bias: Tensor  # f32 [hidden / 16, 4, 16]

    def __init__(self, cell: LstmCell) -> None:
        """Pack."""
        super().__init__()
        self._sources = (cell,)
        self.refresh()

    def refresh(self) -> None:
        """Pack the weights again."""
        (cell,) = self._sources
        self._hold(
            weight=kernels.packed_gates(cell.weight.detach()),
            bias=kernels.packed_gates(cell.bias_input + cell.bias_hidden),
        )

    def forward(self, x: Tensor, states: Tensor) -> Tensor:
        """Return the next states f32 [B, 2, hidden_size] of x [B, input_size] and states alike."""
        return kernels.step_lstm(x, states, self.weight, self.bias)

    def forward_into(
        self, x: Tensor, pool: Tensor, keeps: Tensor, parents: Tensor, next_states: Tensor
    ) -> None:
        """Write the next states of those that are ``pool[parents[i], i]``, or zero.

        Args:
            x: f32 [B, input_size].
            pool: f32 [N, B, 2, hidden_size].
            keeps: i32 [N, B], 0 where zeros take the place of a node's state.
            parents: i32 [B].
            next_states: f32 [B, 2, hidden_size], no parents among them; written.
        """
        kernels.step_lstm(
            x, pool, self.weight, self.bias, nodes=parents, keeps=keeps, out=next_states
        )


class FoldedSupport(FoldedLayer):
    """``ScalarSupport`` for decoding, in one pass over the logits."""

    def refresh(self) -> None:
        """Nothing to derive."""

    def decode(self, logits: Tensor) -> Tensor:
        """Return raw values f32 [...] of logits f32 [..., num_bins]."""
        values = kernels.decode_logits(logits.flatten(0, -2))
        return values.view(logits.shape[:-1])

    def decode_into(self, logits: Tensor, values: Tensor) -> None:
        """Write what ``decode`` returns for logits f32 [B, num_bins] to f32 [B]; not recorded."""
        kernels.decode_logits_into(logits, values)


def scale_and_shift(
    norm: nn.Module | None, bias: Tensor | None, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what ``norm`` makes of a layer's output w + bias: scale * w + shift, f32 [out].

    Args:
        norm: a BatchNorm in inference, or None.
        bias: f32 [out] of the layer, or None.
        weight: of the layer, f32 [out, ...].
    """
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    if norm is None:
        return torch.ones_like(bias), bias
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
        raise TypeError(f"norm: got {type(norm).__name__}, wanted a BatchNorm")
    assert norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias + (bias - norm.running_mean) * scale

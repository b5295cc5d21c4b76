"""Layers of ``folded_network``: the network's own, made quick for inference on a CPU.

Batch normalisation in inference is a fixed scale and shift, so it is folded into the weights of the
layer before it. Each layer here keeps the modules that it stands for and derives its tensors from
them in ``refresh``, in place, so that a recorded graph follows.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientzero.networks.blocks import Classifier, LstmCell, ResidualBlock
from efficientzero.networks.conv_trunk import ConvDynamics

_TILE = 6  # NNPACK's Winograd transform computes 6x6 outputs at once
_MIN_TILES, _MAX_TILES = 32, 256  # fewer do not pay for transforming the weights; more leave caches
_MIN_CHANNELS = 64
_FEW_CHANNELS = 16
_KERNEL = 3


class FoldedLayer(nn.Module):
    """A layer with tensors derived from live modules."""

    def refresh(self) -> None:
        """Derive the tensors anew."""
        raise NotImplementedError

    def _hold(self, **tensors: Tensor) -> None:
        """Store derived tensors, in place from the second time on."""
        for name, tensor in tensors.items():
            if name in self._buffers:
                getattr(self, name).copy_(tensor)
            else:
                self.register_buffer(name, tensor.clone(), persistent=False)


class FoldedConv(FoldedLayer):
    """A convolution and the BatchNorm after it.

    Large 3x3 convolutions run by Winograd's method (NNPACK), which needs a fifth of the
    multiplications; it differs from the direct sum by some 1e-5 of the largest output. Its layout
    is NCHW, that of other 3x3 convolutions channels-last; inputs are converted where they differ.
    Where that costs more than it gains (1x1, few input channels) the input's layout stays.
    """

    weight: Tensor  # f32 [out, in, k, k]
    weight_last: Tensor  # the same, channels-last
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
        self._may_use_winograd = (
            is_3x3
            and conv.stride == (1, 1)
            and min(self._in_channels, conv.out_channels) >= _MIN_CHANNELS
            and torch._nnpack_available()  # also initialises it
        )
        self.refresh()

    def refresh(self) -> None:
        """Derive weights and bias."""
        conv, norm = self._sources
        scale, bias = _scale_and_shift(norm, conv.bias, conv.weight)
        weight = conv.weight[:, : self._in_channels] * scale[:, None, None, None]
        self._hold(
            weight=weight.contiguous(),
            weight_last=weight.contiguous(memory_format=torch.channels_last),
            bias=bias,
        )

    def uses_winograd(self, batch_size: int, height: int, width: int) -> bool:
        """Return whether such an input is convolved by Winograd's method."""
        tiles = batch_size * _tiles(height, width)
        return self._may_use_winograd and tiles >= _MIN_TILES

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H', W']; the bias is added, no ReLU."""
        batch, _, height, width = map(int, x.shape)
        if not self.uses_winograd(batch, height, width):
            keeps = self._keeps_layout and x.is_contiguous()
            weight = self.weight if keeps else self.weight_last
            return F.conv2d(x, weight, self.bias, self._stride, self._padding)
        at_once = max(1, _MAX_TILES // _tiles(height, width))
        parts = [
            torch._nnpack_spatial_convolution(part, self.weight, self.bias, self._padding)
            for part in torch.split(x.contiguous(), at_once)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class FoldedResidualBlock(FoldedLayer):
    """``ResidualBlock`` with its norms folded."""

    def __init__(self, block: ResidualBlock) -> None:
        """Fold."""
        super().__init__()
        self.conv1 = FoldedConv(block.conv1, block.norm1)
        self.conv2 = FoldedConv(block.conv2, block.norm2)
        self.shortcut = None if block.shortcut is None else FoldedConv(block.shortcut, None)

    def refresh(self) -> None:
        """Nothing of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H / stride, W / stride]."""
        residual = x if self.shortcut is None else self.shortcut(x)
        x = self.conv2(F.relu_(self.conv1(x)))
        return F.relu_(x.add_(_laid_out_as(residual, x)))


class FoldedDynamics(FoldedLayer):
    """``ConvDynamics`` with its norm folded, and the action's part of the convolution added.

    The action plane is constant in space, so what it adds to the convolution is its constant times
    one map, which depends on the weights alone.
    """

    action_map: Tensor  # f32 [1, C, h, w]
    action_map_last: Tensor  # the same, channels-last

    def __init__(self, dynamics: ConvDynamics, blocks: nn.Module, size: Sequence[int]) -> None:
        """Fold.

        Args:
            dynamics: the live module.
            blocks: its residual blocks, folded.
            size: (h, w) of the latent.
        """
        super().__init__()
        self._sources, self._size = (dynamics,), tuple(size)
        conv, norm = dynamics.conv, dynamics.norm
        self.conv = FoldedConv(conv, norm, in_channels=conv.in_channels - 1)
        self.blocks = blocks
        self.refresh()

    def refresh(self) -> None:
        """Derive the action's map."""
        (dynamics,) = self._sources
        weight = dynamics.conv.weight
        scale, _ = _scale_and_shift(dynamics.norm, None, weight)
        plane = torch.full((1, 1, *self._size), 1.0 / dynamics.num_actions, device=weight.device)
        added = F.conv2d(plane, weight[:, -1:], padding=1) * scale[:, None, None]
        self._hold(
            action_map=added.contiguous(),
            action_map_last=added.contiguous(memory_format=torch.channels_last),
        )

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Map latents f32 [B, C, h, w] and actions i64 [B] to the next latents, alike."""
        x = self.conv(latents)
        added = self.action_map if x.is_contiguous() else self.action_map_last
        x = x.addcmul_(actions.to(x.dtype)[:, None, None, None], added)
        next_latents: Tensor = self.blocks(F.relu_(x.add_(_laid_out_as(latents, x))))
        return next_latents


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
        scale, shift = _scale_and_shift(norm, None, norm.weight)
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
        scale, bias = _scale_and_shift(classifier.norm, hidden.bias, hidden.weight)
        self._hold(weight=hidden.weight * scale[:, None], bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """Map [B, in_size] to logits f32 [B, out_size]."""
        logits: Tensor = self.output(F.relu_(F.linear(features, self.weight, self.bias)))
        return logits


class PackedLstmCell(FoldedLayer):
    """``LstmCell`` with its matrix in the order that oneDNN wants, sigmoid gates side by side."""

    packed: Tensor  # oneDNN's own layout of f32 [4 * hidden, input + hidden]
    bias: Tensor  # f32 [4 * hidden]

    def __init__(self, cell: LstmCell, batch_size: int) -> None:
        """Pack for inputs of about ``batch_size`` rows."""
        super().__init__()
        self._sources, self._batch_size = (cell,), batch_size
        self._hidden_size = cell.hidden_size
        self.refresh()

    def refresh(self) -> None:
        """Pack the weights anew."""
        (cell,) = self._sources
        # i, f, g, o -> i, f, o, g
        order = torch.arange(4 * self._hidden_size).view(4, -1)[[0, 1, 3, 2]].flatten()
        weight = cell.weight.detach()[order]
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, self._batch_size)
        self._hold(packed=packed, bias=(cell.bias_input + cell.bias_hidden)[order])

    def forward(self, x: Tensor, states: Tensor) -> Tensor:
        """Return the next states f32 [B, 2, hidden_size] of x [B, input_size] and states alike."""
        joined = torch.cat([x, states[:, 0]], dim=1)
        gates = _packed_linear()(joined, self.packed, self.bias)
        i, f, o = gates[:, : 3 * self._hidden_size].sigmoid_().chunk(3, dim=1)
        g = gates[:, 3 * self._hidden_size :].tanh_()
        c = torch.addcmul(f * states[:, 1], i, g)
        return torch.stack([o * torch.tanh(c), c], dim=1)


def _linear(x: Tensor, packed: Tensor, bias: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return product


@functools.cache
def _packed_linear() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return ``_linear`` scripted: tracing does not know the operator's empty list."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        function: Callable[[Tensor, Tensor, Tensor], Tensor] = torch.jit.script(_linear)
    return function


def _tiles(height: int, width: int) -> int:
    return -(-height // _TILE) * -(-width // _TILE)


def _laid_out_as(x: Tensor, like: Tensor) -> Tensor:
    """Return ``x`` in the memory layout of ``like``: mixed layouts add slowly."""
    if like.is_contiguous():
        return x.contiguous()
    return x.contiguous(memory_format=torch.channels_last)


def _scale_and_shift(
    norm: nn.Module | None, bias: Tensor | None, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what ``norm`` makes of a layer's output w + bias: scale * w + shift, f32 [out]."""
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    if norm is None:
        return torch.ones_like(bias), bias
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
        raise TypeError(f"norm: got {type(norm).__name__}, wanted a BatchNorm")
    assert norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias + (bias - norm.running_mean) * scale

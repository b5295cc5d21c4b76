"""The dynamics of ``folded_network``, which can read latents and write the next in their pool."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientzero.inference.cpu import kernels
from efficientzero.inference.cpu.folded_layers import (
    FoldedConv,
    FoldedLayer,
    FoldedResidualBlock,
    scale_and_shift,
)
from efficientzero.networks import ConvDynamics, IndexPlane


class FoldedDynamics(FoldedLayer):
    """``ConvDynamics`` with its norm folded, and the action's part of the convolution added.

    The action plane is constant in space, so what it adds to the convolution is its constant times
    one map, which depends on the weights alone.
    """

    action_map: Tensor  # f32 [1, C, h, w], channels-last

    def __init__(self, dynamics: ConvDynamics, blocks: nn.Module, size: Sequence[int]) -> None:
        """Fold.

        Args:
            dynamics: the live module, with one plane for the index of the action.
            blocks: its residual blocks, folded.
            size: (h, w) of the latent.
        """
        super().__init__()
        self._sources, self._size = (dynamics,), tuple(size)
        conv, norm = dynamics.conv, dynamics.norm
        self.conv = FoldedConv(conv, norm, in_channels=conv.in_channels - 1)
        assert isinstance(blocks, nn.Sequential)
        self.blocks = blocks
        self.refresh()

    def refresh(self) -> None:
        """Derive the action's map."""
        (dynamics,) = self._sources
        assert isinstance(dynamics.encode_actions, IndexPlane)
        weight = dynamics.conv.weight
        scale, _ = scale_and_shift(dynamics.norm, None, weight)
        plane = torch.full(
            (1, 1, *self._size), 1.0 / dynamics.encode_actions.num_actions, device=weight.device
        )
        added = F.conv2d(plane, weight[:, -1:], padding=1) * scale[:, None, None]
        self._hold(action_map=added.contiguous(memory_format=torch.channels_last))

    @property
    def works_in_place(self) -> bool:
        """Whether ``forward_into`` can be called."""
        return self.conv.uses_winograd and all(
            isinstance(block, FoldedResidualBlock) and block.conv2.uses_winograd
            for block in self.blocks
        )

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Map latents f32 [B, C, h, w] and actions i64 [B] to the next latents, alike."""
        if self.conv.uses_winograd:
            x = self._convolve(latents, None, actions.int())
        else:
            factors = actions.to(latents.dtype)[:, None, None, None]
            added = torch.addcmul(latents, factors, self.action_map)
            x = self.conv(latents, added=added, relu=True)
        next_latents: Tensor = self.blocks(x)
        return next_latents

    def forward_into(
        self, pool: Tensor, parents: Tensor, actions: Tensor, next_latents: Tensor
    ) -> None:
        """Write the next latents of those that are ``pool[parents[i], i]``.

        Args:
            pool: f32 [N, B, C, h, w], channels-last.
            parents: i32 [B].
            actions: i32 [B].
            next_latents: f32 [B, C, h, w], channels-last, no parents among them; written.
        """
        *first, last = self.blocks
        x = self._convolve(pool, parents, actions)
        for block in first:
            x = block(x)
        last(x, out=next_latents)

    def _convolve(self, latents: Tensor, nodes: Tensor | None, actions: Tensor) -> Tensor:
        return kernels.convolve_3x3(
            latents,
            self.conv.weight,
            self.conv.bias,
            action=kernels.ActionTerm(self.action_map[0], actions),
            relu=True,
            nodes=nodes,
        )

"""The convolutional trunk: image observations to latents [C, h, w] and on to the next latents.

Built by ``efficientzero_net`` for image environments. The layers for 96x96 frames are the
reference's, less its unused ones; smaller images take fewer strides (``image_sizes``).
``network.norm`` throughout, and the latent itself is not normalised: it ends in a ReLU.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientzero.config import NetworkConfig, downsample_of, latent_size
from efficientzero.networks.actions.codes import IndexPlane, NumberPlanes, plane_encoder
from efficientzero.networks.blocks import ResidualBlock, Trunk, conv3x3, scale_pixels
from efficientzero.networks.classifiers import NormFactory
from efficientzero.networks.norms import conv_norm, vector_norm
from efficientzero.schema import EnvSpec

_BLOCK_FROM, _POOLED_FROM = 4, 8
"""Factors from which there is a residual block of stride 2, and from which pooling."""


class ConvRepresentation(nn.Module):
    """Stacked frames to a latent."""

    def __init__(self, layers: list[nn.Module]) -> None:
        """Run ``layers`` in order."""
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, observations: Tensor) -> Tensor:
        """Map u8, or float in 0..1, [B, S*C, H, W] to latents f32 [B, C, h, w]."""
        latents: Tensor = self.layers(scale_pixels(observations))
        return latents.float()


class ConvDynamics(nn.Module):
    """A latent and an action to the next latent."""

    def __init__(
        self,
        channels: int,
        *,
        encode_actions: IndexPlane | NumberPlanes,
        num_blocks: int,
        norm: NormFactory,
    ) -> None:
        """Create the action-conditioned convolution and ``num_blocks`` residual blocks."""
        super().__init__()
        self.encode_actions = encode_actions
        self.conv = conv3x3(channels + encode_actions.size, channels)
        self.norm = norm(channels)
        self.blocks = _residual_blocks(channels, num_blocks, norm)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Map latents f32 [B, C, h, w] and actions, i64 [B] or f32 [B, X], to the next latents."""
        x = self.norm(self.conv(self._with_action_planes(latents, actions)))
        # The incoming latent is added so that gradients survive the unroll.
        next_latents: Tensor = self.blocks(F.relu_(x + latents))
        return next_latents.float()

    def _with_action_planes(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Append planes of the action's P numbers: [B, C + P, h, w]."""
        batch, _, height, width = latents.shape
        constants = self.encode_actions(actions)  # [B, P]
        planes = constants[:, None, None].expand(batch, height, width, -1)
        # Joined as [B, h, w, C + P] and seen as [B, C + P, h, w]: channels-last without a copy.
        return torch.cat([latents.permute(0, 2, 3, 1), planes], dim=3).permute(0, 3, 1, 2)


def make_conv_trunk(config: NetworkConfig, spec: EnvSpec) -> Trunk:
    """Build the trunk for image frames of any height and width."""
    frame_channels, *frame_size = spec.observation_shape
    channels, norm = config.channels, conv_norm(config)
    downsample = downsample_of(config, spec)
    height, width = latent_size(tuple(frame_size), downsample)
    return Trunk(
        representation=ConvRepresentation(_layers(frame_channels, config, downsample)),
        dynamics=ConvDynamics(
            channels,
            encode_actions=plane_encoder(spec),
            num_blocks=config.num_blocks,
            norm=norm,
        ),
        prediction_body=_residual_blocks(channels, config.num_blocks, norm),
        make_stem=partial(_head_stem, channels, config.reduced_channels, norm),
        stem_size=config.reduced_channels * height * width,
        head_norm=vector_norm(config),
        latent_shape=(channels, height, width),
        own_root_statistics=config.norm == "batch_by_call",
    )


def _layers(frame_channels: int, config: NetworkConfig, downsample: int) -> list[nn.Module]:
    """Return layers that divide height and width by ``downsample``, rounding up.

    A layer of stride 2 for each factor of 2, with kernel 3 and padding 1: a convolution, a residual
    block, and from then on pooling. With the reference's 16: 96x96 -> 48 -> 24 -> 12 -> 6x6.
    """
    channels, num_blocks, norm = config.channels, config.num_blocks, conv_norm(config)
    width = channels if downsample < _BLOCK_FROM else channels // 2
    layers: list[nn.Module] = [
        conv3x3(frame_channels, width, stride=min(2, downsample)),
        norm(width),
        nn.ReLU(inplace=True),
        _residual_blocks(width, num_blocks, norm),
    ]
    if downsample >= _BLOCK_FROM:
        layers.append(ResidualBlock(width, channels, norm=norm, stride=2))
        layers.append(_residual_blocks(channels, num_blocks, norm))
    factor = _POOLED_FROM
    while factor <= downsample:
        layers.append(nn.AvgPool2d(3, stride=2, padding=1))  # the padding's zeros counted
        layers.append(_residual_blocks(channels, num_blocks, norm))
        factor *= 2
    return layers


def _residual_blocks(channels: int, num_blocks: int, norm: NormFactory) -> nn.Sequential:
    blocks = (ResidualBlock(channels, channels, norm=norm) for _ in range(num_blocks))
    return nn.Sequential(*blocks)


def _head_stem(channels: int, reduced_channels: int, norm: NormFactory) -> nn.Module:
    """Return 1x1 convolution, norm, ReLU, flatten: [B, C, h, w] -> [B, reduced * h * w]."""
    return nn.Sequential(
        nn.Conv2d(channels, reduced_channels, 1),
        norm(reduced_channels),
        nn.ReLU(inplace=True),
        nn.Flatten(),
    )

"""The convolutional trunk: image observations to latents [C, h, w] and on to the next latents.

Built by ``efficientzero_net`` for image environments. The layers for 96x96 frames are the
reference's, less its unused ones; images of at most 32 pixels a side keep their resolution.
BatchNorm throughout, and the latent itself is not normalised: it ends in a ReLU.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientzero.config import NetworkConfig
from efficientzero.networks.blocks import ResidualBlock, Trunk, conv3x3, scale_pixels
from efficientzero.schema import EnvSpec

_LARGEST_FULL_RESOLUTION = 32
_DOWNSAMPLING = 16


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
        self, channels: int, *, num_actions: int, num_blocks: int, momentum: float
    ) -> None:
        """Create the action-conditioned convolution and ``num_blocks`` residual blocks."""
        super().__init__()
        self.num_actions = num_actions
        self.conv = conv3x3(channels + 1, channels)
        self.norm = nn.BatchNorm2d(channels, momentum=momentum)
        self.blocks = _residual_blocks(channels, num_blocks, momentum)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Map latents f32 [B, C, h, w] and actions i64 [B] to the next latents, alike."""
        x = self.norm(self.conv(self._with_action_plane(latents, actions)))
        # The incoming latent is added so that gradients survive the unroll.
        next_latents: Tensor = self.blocks(F.relu_(x + latents))
        return next_latents.float()

    def _with_action_plane(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Append a plane of the constant action / num_actions: [B, C + 1, h, w]."""
        batch, _, height, width = latents.shape
        constants = actions.to(latents.dtype) / self.num_actions
        plane = constants.view(batch, 1, 1, 1).expand(batch, height, width, 1)
        # Joined as [B, h, w, C + 1] and seen as [B, C + 1, h, w]: channels-last without a copy.
        return torch.cat([latents.permute(0, 2, 3, 1), plane], dim=3).permute(0, 3, 1, 2)


def make_conv_trunk(config: NetworkConfig, spec: EnvSpec) -> Trunk:
    """Build the trunk for image frames of any height and width."""
    frame_channels, *frame_size = spec.observation_shape
    channels, momentum = config.channels, config.batch_norm_momentum
    if min(frame_size) <= _LARGEST_FULL_RESOLUTION:
        layers = _full_resolution_layers(frame_channels, config)
        height, width = frame_size
    else:
        layers = _downsampling_layers(frame_channels, config)
        # Four layers of stride 2, kernel 3 and padding 1, each of which halves and rounds up.
        height, width = (math.ceil(size / _DOWNSAMPLING) for size in frame_size)
    return Trunk(
        representation=ConvRepresentation(layers),
        dynamics=ConvDynamics(
            channels,
            num_actions=spec.num_actions,
            num_blocks=config.num_blocks,
            momentum=momentum,
        ),
        prediction_body=_residual_blocks(channels, config.num_blocks, momentum),
        make_stem=partial(_head_stem, channels, config.reduced_channels, momentum),
        stem_size=config.reduced_channels * height * width,
        head_norm=partial(nn.BatchNorm1d, momentum=momentum),
        latent_shape=(channels, height, width),
    )


def _downsampling_layers(frame_channels: int, config: NetworkConfig) -> list[nn.Module]:
    """Return layers that divide height and width by 16, rounding up: 96x96 -> 6x6."""
    channels, num_blocks, momentum = config.channels, config.num_blocks, config.batch_norm_momentum
    half = channels // 2
    return [
        conv3x3(frame_channels, half, stride=2),  # 48x48
        nn.BatchNorm2d(half, momentum=momentum),
        nn.ReLU(inplace=True),
        _residual_blocks(half, num_blocks, momentum),
        ResidualBlock(half, channels, momentum=momentum, stride=2),  # 24x24
        _residual_blocks(channels, num_blocks, momentum),
        nn.AvgPool2d(3, stride=2, padding=1),  # 12x12, the padding's zeros counted
        _residual_blocks(channels, num_blocks, momentum),
        nn.AvgPool2d(3, stride=2, padding=1),  # 6x6
        _residual_blocks(channels, num_blocks, momentum),
    ]


def _full_resolution_layers(frame_channels: int, config: NetworkConfig) -> list[nn.Module]:
    """Return layers that keep height and width, for images too small to halve."""
    return [
        conv3x3(frame_channels, config.channels),
        nn.BatchNorm2d(config.channels, momentum=config.batch_norm_momentum),
        nn.ReLU(inplace=True),
        _residual_blocks(config.channels, config.num_blocks, config.batch_norm_momentum),
    ]


def _residual_blocks(channels: int, num_blocks: int, momentum: float) -> nn.Sequential:
    blocks = (ResidualBlock(channels, channels, momentum=momentum) for _ in range(num_blocks))
    return nn.Sequential(*blocks)


def _head_stem(channels: int, reduced_channels: int, momentum: float) -> nn.Module:
    """Return 1x1 convolution, BatchNorm, ReLU, flatten: [B, C, h, w] -> [B, reduced * h * w]."""
    return nn.Sequential(
        nn.Conv2d(channels, reduced_channels, 1),
        nn.BatchNorm2d(reduced_channels, momentum=momentum),
        nn.ReLU(inplace=True),
        nn.Flatten(),
    )

"""The decoder: from latents back to the newest frame, for the reconstruction loss.

Only the learner has one. Latents of the convolutional trunk are decoded by its strides backwards:
each halving is undone by nearest upsampling and a convolution. Latents that are vectors pass two
layers. Frames that are vectors are decoded in the space in which the encoder's layers take them.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from efficientzero.config import NetworkConfig, downsample_of, latent_size
from efficientzero.networks.blocks import compress, conv3x3, scale_pixels
from efficientzero.networks.norms import conv_norm
from efficientzero.schema import EnvSpec


class Decoder(nn.Module):
    """Latents to newest frames."""

    def __init__(self, layers: nn.Sequential, spec: EnvSpec) -> None:
        """Decode with ``layers``, whose last one is linear."""
        super().__init__()
        self.layers = layers
        self._num_newest, self._is_image = spec.frame_shape[0], spec.is_image

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents f32 [B, *latent] to frames f32 [B, *frame], as ``targets`` has them."""
        frames: Tensor = self.layers(latents)
        return frames.float()

    def targets(self, observations: Tensor) -> Tensor:
        """Return the newest frames f32 [B, *frame] of observations u8 or f32 [B, *observation].

        Pixels are in 0..1, entries of vectors are sign(x) ln(1 + |x|).
        """
        newest = observations[:, -self._num_newest :]
        return scale_pixels(newest) if self._is_image else compress(newest)


def make_decoder(config: NetworkConfig, spec: EnvSpec, latent_shape: tuple[int, ...]) -> Decoder:
    """Build the decoder for the observations of ``spec`` and latents of ``latent_shape``."""
    if len(latent_shape) > 1:
        return Decoder(_convolutions(config, spec, latent_shape[0]), spec)
    return Decoder(_two_layers(config, spec, latent_shape[0]), spec)


def _two_layers(config: NetworkConfig, spec: EnvSpec, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size, config.mlp_hidden_size),
        nn.LayerNorm(config.mlp_hidden_size),
        nn.ReLU(inplace=True),
        nn.Linear(config.mlp_hidden_size, math.prod(spec.frame_shape)),
        nn.Unflatten(1, spec.frame_shape),
    )


def _convolutions(config: NetworkConfig, spec: EnvSpec, latent_channels: int) -> nn.Sequential:
    """Return a 1x1 convolution, a stage for each factor of 2, and a convolution to pixels.

    At full resolution the only convolution is that to pixels. With another one, the decoder of
    96x96 frames takes three times the operations: more than all the rest of a train_step.
    """
    channels, norm = config.decoder_channels, conv_norm(config)
    frame_channels, *frame_size = spec.frame_shape
    downsample = downsample_of(config, spec)
    layers: list[nn.Module] = [nn.Conv2d(latent_channels, channels, 1)]
    while downsample > 1:
        downsample //= 2
        layers.append(_Upsample(latent_size(tuple(frame_size), downsample)))
        if downsample > 1:
            layers += [conv3x3(channels, channels), norm(channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(channels, frame_channels, 3, padding=1))


class _Upsample(nn.Module):
    """Doubles height and width, less the row or column that the encoder's rounding added."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self._height, self._width = size

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, ceil(h / 2), ceil(w / 2)] to [B, C, h, w]."""
        return F.interpolate(x, scale_factor=2.0)[..., : self._height, : self._width]

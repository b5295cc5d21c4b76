"""The decoder: from latents back to the newest frame, for the reconstruction loss.

Only the learner has one. For images it mirrors the encoder's strides: each halving is undone by
nearest upsampling and a convolution. Vectors are decoded in the space in which the encoder's layers
take them.
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
    layers = _image_layers(config, spec, latent_shape) if spec.is_image else None
    return Decoder(nn.Sequential(*(layers or _vector_layers(config, spec, latent_shape))), spec)


def _vector_layers(
    config: NetworkConfig, spec: EnvSpec, latent_shape: tuple[int, ...]
) -> list[nn.Module]:
    return [
        nn.Linear(math.prod(latent_shape), config.mlp_hidden_size),
        nn.LayerNorm(config.mlp_hidden_size),
        nn.ReLU(inplace=True),
        nn.Linear(config.mlp_hidden_size, spec.frame_shape[0]),
    ]


def _image_layers(
    config: NetworkConfig, spec: EnvSpec, latent_shape: tuple[int, ...]
) -> list[nn.Module]:
    """Return a layer from the latent, a stage for each factor of 2, and a convolution to pixels."""
    channels, norm = config.decoder_channels, conv_norm(config)
    frame_channels, *frame_size = spec.frame_shape
    downsample = downsample_of(config, spec)
    layers: list[nn.Module] = _from_latents(
        latent_shape, channels, latent_size(tuple(frame_size), downsample)
    )
    while downsample > 1:
        downsample //= 2
        layers += [
            _Upsample(latent_size(tuple(frame_size), downsample)),
            conv3x3(channels, channels),
            norm(channels),
            nn.ReLU(inplace=True),
        ]
    layers.append(nn.Conv2d(channels, frame_channels, 3, padding=1))
    return layers


def _from_latents(
    latent_shape: tuple[int, ...], channels: int, size: tuple[int, ...]
) -> list[nn.Module]:
    """Return layers [B, *latent] -> [B, channels, *size], the size of a convolutional latent."""
    if len(latent_shape) > 1:
        return [nn.Conv2d(latent_shape[0], channels, 1)]
    cells = channels * math.prod(size)
    return [nn.Linear(latent_shape[0], cells), nn.Unflatten(1, (channels, *size))]


class _Upsample(nn.Module):
    """Doubles height and width, less the row or column that the encoder's rounding added."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self._height, self._width = size

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, ceil(h / 2), ceil(w / 2)] to [B, C, h, w]."""
        return F.interpolate(x, scale_factor=2.0)[..., : self._height, : self._width]

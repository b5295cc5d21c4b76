"""Ratio of image size to latent size in convolutional networks, which dominates a call's cost.

The launcher chooses it once and writes it into the run's config; networks read it there.
"""

from __future__ import annotations

import dataclasses
import math

from efficientzero.config.agent_fields import Downsample, NetworkConfig
from efficientzero.config.fields import Config
from efficientzero.schema import EnvSpec

_FULL_RESOLUTION_CELLS = 100
"""Images of at most this many pixels are grids in which every cell counts: MinAtar's 10x10."""
_MOST_CELLS = 49
"""Most cells of a latent; 96x96 images have 36, 64x64 images 16."""
_CHOICES: tuple[Downsample, ...] = (1, 2, 4, 8, 16)
"""The last is the reference's, for 96x96. Larger images use it too and have larger latents."""
_LARGEST_FULL_RESOLUTION = 32


def trunk_of(config: NetworkConfig, spec: EnvSpec) -> str:
    """Return the row of ``networks.TRUNKS``: auto is conv (latents [C, h, w]) or mlp ([L])."""
    if config.trunk != "auto":
        return config.trunk
    return "conv" if spec.is_image else "mlp"


def latent_size(frame_size: tuple[int, ...], downsample: int) -> tuple[int, ...]:
    """Return (h, w) of the latent: each layer of stride 2 halves and rounds up."""
    return tuple(math.ceil(side / downsample) for side in frame_size)


def chosen_downsample(frame_size: tuple[int, ...]) -> Downsample:
    """Return the factor for images [height, width]: the smallest that keeps a call cheap."""
    if math.prod(frame_size) <= _FULL_RESOLUTION_CELLS:
        return _CHOICES[0]
    fitting = (f for f in _CHOICES[1:] if math.prod(latent_size(frame_size, f)) <= _MOST_CELLS)
    return next(fitting, _CHOICES[-1])


def downsample_of(config: NetworkConfig, spec: EnvSpec) -> int:
    """Return the factor of a network for the images of ``spec``.

    If a config has 0, the factor is 1 for images of up to 32 pixels a side and 16 for larger ones:
    runs older than the field have 0, and those for which this is also the chosen factor.
    """
    if config.downsample:
        return config.downsample
    is_small = min(spec.frame_shape[1:]) <= _LARGEST_FULL_RESOLUTION
    return _CHOICES[0] if is_small else _CHOICES[-1]


def with_downsample(config: Config, spec: EnvSpec) -> Config:
    """Return ``config`` with the factor chosen for its images, if 0 would give another one."""
    if config.network.downsample or not spec.is_image:
        return config
    chosen = chosen_downsample(spec.frame_shape[1:])
    if chosen == downsample_of(config.network, spec):
        return config
    network = dataclasses.replace(config.network, downsample=chosen)
    return dataclasses.replace(config, network=network)

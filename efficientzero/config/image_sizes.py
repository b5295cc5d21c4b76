"""How much smaller than the image a convolutional latent is: what a network call costs most by.

The launcher chooses, once, and writes the choice into the run's config; networks are built by it.
"""

from __future__ import annotations

import dataclasses
import math

from efficientzero.config.agent_fields import Downsample, NetworkConfig
from efficientzero.config.fields import Config
from efficientzero.schema import EnvSpec

_FULL_RESOLUTION_CELLS = 100
"""Images of no more pixels are boards and grids whose every cell counts: 10x10 of MinAtar."""
_MOST_CELLS = 49
"""Of a latent; 96x96 images have 36, 64x64 ones 16."""
_CHOICES: tuple[Downsample, ...] = (1, 2, 4, 8, 16)
"""The last is the reference's, for 96x96. Larger images keep it, and have larger latents."""
_LARGEST_FULL_RESOLUTION = 32


def has_conv_trunk(config: NetworkConfig, spec: EnvSpec) -> bool:
    """Return whether latents are planes [C, h, w]; else they are vectors [L]."""
    return spec.is_image and config.trunk == "auto"


def latent_size(frame_size: tuple[int, ...], downsample: int) -> tuple[int, ...]:
    """Return (h, w) of the latent: each layer of stride 2 halves and rounds up."""
    return tuple(math.ceil(side / downsample) for side in frame_size)


def chosen_downsample(frame_size: tuple[int, ...]) -> Downsample:
    """Return the factor for images [height, width]: the least with which a call stays cheap."""
    if math.prod(frame_size) <= _FULL_RESOLUTION_CELLS:
        return _CHOICES[0]
    fitting = (f for f in _CHOICES[1:] if math.prod(latent_size(frame_size, f)) <= _MOST_CELLS)
    return next(fitting, _CHOICES[-1])


def downsample_of(config: NetworkConfig, spec: EnvSpec) -> int:
    """Return the factor of a network for the images of ``spec``.

    Where a config has 0, the factor is 1 for images of up to 32 pixels a side and 16 for larger
    ones: runs from before the field have it, and those for whose images it is the chosen one.
    """
    if config.downsample:
        return config.downsample
    is_small = min(spec.frame_shape[1:]) <= _LARGEST_FULL_RESOLUTION
    return _CHOICES[0] if is_small else _CHOICES[-1]


def with_downsample(config: Config, spec: EnvSpec) -> Config:
    """Return ``config`` with the factor that its images ask for, where 0 would be another one."""
    if config.network.downsample or not spec.is_image:
        return config
    chosen = chosen_downsample(spec.frame_shape[1:])
    if chosen == downsample_of(config.network, spec):
        return config
    network = dataclasses.replace(config.network, downsample=chosen)
    return dataclasses.replace(config, network=network)

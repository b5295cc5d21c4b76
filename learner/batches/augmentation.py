"""Random shift and intensity of image windows, on the device.

Called by the learner before the loss. One shift and one factor for all frames of a sample's
window, so that motion inside the window is preserved (EfficientZero, appendix; DrQ's shift).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from efficientzero.config import LearnerConfig

_INTENSITY_CLIP = 2.0


class Augmentation:
    """Shifts and scales one window after another, with separate random generators.

    Shifts and factors have one generator each, so switching one off does not change the draws of
    the other. Without factors frames stay uint8.
    """

    def __init__(self, config: LearnerConfig, seeds: tuple[int, int], device: torch.device) -> None:
        """Start both generators, on ``device``, with seeds of up to 64 bits."""
        self._pixels = config.shift_pixels if config.augmentation else 0
        self._scale = config.intensity_scale if config.augmentation else 0.0
        self._shifts, self._factors = (torch.Generator(device).manual_seed(seed) for seed in seeds)

    def __call__(self, frames: Tensor) -> Tensor:
        """Return u8 frames [B, F, C, H, W] shifted; f32 in about 0..1 if also scaled."""
        if self._pixels:
            frames = shift(frames, self._pixels, self._shifts)
        if self._scale:
            frames = intensity(frames / 255.0, self._scale, self._factors)
        return frames

    def state_dict(self) -> dict[str, Tensor]:
        """Return the generators' states, u8 [bytes] each, on the CPU."""
        return {"shifts": self._shifts.get_state(), "factors": self._factors.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue drawing from the state of ``state_dict``."""
        self._shifts.set_state(state["shifts"])
        self._factors.set_state(state["factors"])


def shift(frames: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Return ``frames`` moved by up to ``pixels`` in y and x, edges repeated.

    Args:
        frames: [B, F, C, H, W], any dtype.
        pixels: largest shift; the same as padding by ``pixels`` and cropping at random.
        generator: on the frames' device.
    """
    batch, _, _, height, width = frames.shape
    device = frames.device
    offsets = torch.randint(-pixels, pixels + 1, (2, batch, 1), generator=generator, device=device)
    rows = (torch.arange(height, device=device) + offsets[0]).clamp_(0, height - 1)  # [B, H]
    columns = (torch.arange(width, device=device) + offsets[1]).clamp_(0, width - 1)  # [B, W]
    places = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)  # [B, H * W]
    # One gather of whole planes: on a CPU a third of the time of indexing by three arrays.
    planes = frames.flatten(3).flatten(1, 2)
    return planes.gather(2, places[:, None].expand(-1, planes.shape[1], -1)).view(frames.shape)


def intensity(frames: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """Return ``frames`` times 1 + scale * clip(n, -2, 2), n normal and one per sample.

    Args:
        frames: f32 [B, F, C, H, W].
        scale: standard deviation of the factor.
        generator: on the frames' device.
    """
    noise = torch.randn(len(frames), generator=generator, device=frames.device)
    factors = 1.0 + scale * noise.clamp(-_INTENSITY_CLIP, _INTENSITY_CLIP)
    return frames * factors[:, None, None, None, None]

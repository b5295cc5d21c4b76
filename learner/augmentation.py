"""Random shift and intensity of image windows, on the device.

Called by the learner before the loss. One shift and one factor for all frames of a sample's
window, so that motion inside the window stays true (EfficientZero, appendix; DrQ's shift).
"""

from __future__ import annotations

import torch
from torch import Tensor

_INTENSITY_CLIP = 2.0


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
    samples = torch.arange(batch, device=device)
    # Advanced indices on both sides of the slices put their dimensions first: [B, H, W, F, C].
    moved = frames[samples[:, None, None], :, :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 4, 1, 2)


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


def augment(frames: Tensor, *, pixels: int, scale: float, generator: torch.Generator) -> Tensor:
    """Return f32 frames in 0..1, shifted and scaled.

    Args:
        frames: u8 [B, F, C, H, W].
        pixels: see ``shift``.
        scale: see ``intensity``.
        generator: on the frames' device.
    """
    return intensity(shift(frames, pixels, generator).float() / 255.0, scale, generator)

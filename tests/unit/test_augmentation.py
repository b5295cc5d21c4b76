"""Augmentation against a loop over samples."""

import numpy as np
import torch

from learner.augmentation import augment, intensity, shift


def test_shift_is_a_crop_of_the_edge_padded_image():
    frames = torch.arange(2 * 3 * 1 * 6 * 5, dtype=torch.uint8).reshape(2, 3, 1, 6, 5)
    moved = shift(frames, 2, torch.Generator().manual_seed(3))
    for sample in range(2):
        padded = np.pad(frames[sample].numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
        crops = [padded[:, :, y : y + 6, x : x + 5] for y in range(5) for x in range(5)]
        assert any(np.array_equal(moved[sample].numpy(), crop) for crop in crops)


def test_shift_covers_every_offset_and_moves_samples_differently():
    frames = torch.zeros(400, 1, 1, 5, 5)
    frames[:, :, :, 2, 2] = 1
    moved = shift(frames, 1, torch.Generator().manual_seed(0))
    positions = {tuple(p) for p in moved.flatten(1).nonzero()[:, 1:].tolist()}
    assert len(positions) == 9


def test_intensity_is_one_factor_per_sample_within_two_deviations():
    factors = intensity(torch.ones(1000, 2, 1, 2, 2), 0.05, torch.Generator().manual_seed(0))
    assert torch.equal(factors.flatten(1).min(1).values, factors.flatten(1).max(1).values)
    assert 0.9 <= factors.min() < 0.92
    assert 1.08 < factors.max() <= 1.1 + 1e-6


def test_augmented_frames_are_floats_in_unit_scale():
    frames = torch.full((4, 2, 3, 8, 8), 255, dtype=torch.uint8)
    out = augment(frames, pixels=0, scale=0.0, generator=torch.Generator())
    assert out.dtype == torch.float32
    assert torch.equal(out, torch.ones_like(out))

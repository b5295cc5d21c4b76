"""Augmentation against a loop over samples, and what each of its switches removes."""

import dataclasses

import numpy as np
import pytest
import torch

from efficientzero.config.fields import LearnerConfig
from learner.batches.augmentation import Augmentation, intensity, shift

CPU = torch.device("cpu")
FRAMES = torch.randint(0, 256, (6, 3, 2, 9, 8), generator=torch.Generator().manual_seed(5)).to(
    torch.uint8
)


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


def augmentation(**settings):
    return Augmentation(dataclasses.replace(LearnerConfig(), **settings), (1, 2), CPU)


def test_shifted_frames_stay_bytes_and_scaled_ones_are_floats_in_unit_scale():
    bright = torch.full((4, 2, 3, 8, 8), 255, dtype=torch.uint8)
    assert augmentation(intensity_scale=0.0)(bright).dtype == torch.uint8
    scaled = augmentation(shift_pixels=0, intensity_scale=1e-9)(bright)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled, torch.ones_like(scaled))


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        ({"shift_pixels": 0}, {"shifts"}),
        ({"intensity_scale": 0.0}, {"factors"}),
        ({"shift_pixels": 0, "intensity_scale": 0.0}, {"shifts", "factors"}),
        ({"augmentation": False}, {"shifts", "factors"}),
        ({}, set()),
    ],
)
def test_what_is_switched_off_draws_no_number(settings, idle):
    augment = augmentation(**settings)
    before = augment.state_dict()
    augment(FRAMES)
    after = augment.state_dict()
    assert {name for name in before if torch.equal(before[name], after[name])} == idle


@pytest.mark.parametrize(
    "settings", [{"augmentation": False}, {"shift_pixels": 0, "intensity_scale": 0.0}]
)
def test_without_shift_and_intensity_the_frames_are_the_same_tensor(settings):
    assert augmentation(**settings)(FRAMES) is FRAMES


def test_switching_one_kind_off_leaves_the_other_as_it_was():
    both, moved_only, scaled_only = (
        augmentation(),
        augmentation(intensity_scale=0.0),
        augmentation(shift_pixels=0),
    )
    for _ in range(3):
        joint, moved, scaled = both(FRAMES), moved_only(FRAMES), scaled_only(FRAMES)
        factors = scaled / (FRAMES.float() / 255)  # NaN where a pixel is black
        factor = factors.flatten(1).nanmean(1)[:, None, None, None, None]
        torch.testing.assert_close(joint, moved.float() / 255 * factor)


def test_a_generators_state_brings_its_draws_back():
    first, second = augmentation(), augmentation()
    first(FRAMES)
    state = first.state_dict()
    wanted = first(FRAMES)
    second.load_state_dict(state)
    assert torch.equal(second(FRAMES), wanted)

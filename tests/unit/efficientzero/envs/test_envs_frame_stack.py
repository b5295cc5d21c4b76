"""Frame stacks: order, reset, and equality of the actor's and the learner's way to the same."""

import numpy as np
import pytest
import torch

from efficientzero.envs import FrameStack
from efficientzero.schema import EnvSpec, Observed
from replay.format import stack_window

IMAGE = EnvSpec(
    env_id="image", frame_shape=(3, 4, 5), frame_dtype="uint8", num_actions=2, num_stacked_frames=4
)
VECTOR = EnvSpec(
    env_id="vector", frame_shape=(6,), frame_dtype="float32", num_actions=2, num_stacked_frames=2
)


def random_frames(spec: EnvSpec, *leading: int) -> np.ndarray:
    shape = (*leading, *spec.frame_shape)
    return np.random.default_rng(0).integers(0, 256, shape).astype(spec.frame_dtype)


@pytest.mark.parametrize("spec", [IMAGE, VECTOR])
def test_reset_fills_all_slots_with_the_first_frame(spec: EnvSpec):
    stack = FrameStack(spec, 2)
    frames = random_frames(spec, 2)
    stack.reset([0, 1], Observed(frames))
    expected = np.concatenate([frames] * spec.num_stacked_frames, axis=1)
    np.testing.assert_array_equal(stack.observations(), expected)
    assert stack.observations().dtype == spec.frame_dtype


@pytest.mark.parametrize("spec", [IMAGE, VECTOR])
def test_observations_hold_the_last_frames_oldest_first(spec: EnvSpec):
    stack = FrameStack(spec, 3)
    frames = random_frames(spec, 7, 3)  # time, environment
    stack.reset([0, 1, 2], Observed(frames[0]))
    for time in range(1, 7):
        stack.push([0, 1, 2], Observed(frames[time]))
    expected = np.concatenate(list(frames[-spec.num_stacked_frames :]), axis=1)
    np.testing.assert_array_equal(stack.observations(), expected)


def test_pushing_to_some_environments_leaves_the_others_alone():
    stack = FrameStack(IMAGE, 3)
    stack.reset([0, 1, 2], Observed(random_frames(IMAGE, 3)))
    before = stack.observations().copy()
    stack.push([2, 0], Observed(np.zeros((2, 3, 4, 5), np.uint8)))
    np.testing.assert_array_equal(stack.observations()[1], before[1])
    np.testing.assert_array_equal(stack.observations()[[0, 2], :9], before[[0, 2], 3:])
    assert not stack.observations()[[0, 2], 9:].any()


def test_roots_are_copies_with_the_newest_legal_actions():
    stack = FrameStack(VECTOR, 3)
    frames = random_frames(VECTOR, 3)
    stack.reset([0, 1, 2], Observed(frames))
    assert stack.roots([2, 0]).legal_actions is None
    stack.push([1], Observed(frames[:1] + 1, np.array([[True, False]])))
    roots = stack.roots([1, 2])
    stack.push([1], Observed(frames[:1] + 2, np.array([[False, True]])))
    np.testing.assert_array_equal(roots.observations[0], np.concatenate([frames[1], frames[0] + 1]))
    assert len(roots) == 2 and roots.legal_actions.tolist() == [[True, False], [True, True]]
    assert stack.roots([1]).legal_actions.tolist() == [[False, True]]


def test_observations_is_a_view_without_a_copy():
    stack = FrameStack(IMAGE, 2)
    assert stack.observations() is stack.observations()


def test_a_frame_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"got shape \(1, 3, 4, 4\), wanted \(1, 3, 4, 5\)"):
        FrameStack(IMAGE, 1).push([0], Observed(np.zeros((1, 3, 4, 4), np.uint8)))


@pytest.mark.parametrize("spec", [IMAGE, VECTOR])
def test_window_offsets_equal_the_observations_an_actor_saw(spec: EnvSpec):
    size = spec.num_stacked_frames
    episode = random_frames(spec, 8, 2)  # time, environment
    padded = np.concatenate([np.repeat(episode[:1], size - 1, axis=0), episode])
    window = np.moveaxis(padded, 0, 1)  # [B, F, *frame]
    stack = FrameStack(spec, 2)
    stack.reset([0, 1], Observed(episode[0]))
    for offset in range(8):
        if offset > 0:
            stack.push([0, 1], Observed(episode[offset]))
        np.testing.assert_array_equal(stack_window(window, offset, size), stack.observations())


def test_window_of_a_tensor_equals_that_of_the_array():
    frames = random_frames(IMAGE, 2, 9)
    expected = stack_window(frames, 3, 4)
    assert stack_window(torch.from_numpy(frames), 3, 4).numpy().tolist() == expected.tolist()


@pytest.mark.parametrize("start", [-1, 6])
def test_window_outside_the_frames_is_refused(start: int):
    with pytest.raises(ValueError, match=r"wanted 0\.\.5"):
        stack_window(random_frames(IMAGE, 1, 9), start, 4)

"""Frames and numbers of windows: what stands in outside an episode, and stacked observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from efficientzero.schema import Frames

if TYPE_CHECKING:
    import torch

ArrayT = TypeVar("ArrayT", Frames, "torch.Tensor")


def repeat_edges(frames: NDArray[Any], *, first: int, stop: int) -> None:
    """Fill ``frames[:first]`` with the first real frame and ``frames[stop:]`` with the last.

    Args:
        frames: [W, *frame], real in ``first:stop``; changed in place.
        first: Frames missing before the episode's first.
        stop: One past the episode's last frame, or W.
    """
    if not 0 <= first < stop <= len(frames):
        raise ValueError(f"real frames: got {first}:{stop}, wanted a part of 0:{len(frames)}")
    frames[:first] = frames[first]
    frames[stop:] = frames[stop - 1]


def copy_then_zeros(target: NDArray[Any], source: NDArray[Any]) -> None:
    """Copy as many rows of ``source`` as ``target`` has or there are; set the others to zero."""
    count = min(len(target), len(source))
    target[:count] = source[:count]
    target[count:] = 0


def stack_window(frames: ArrayT, start: int, num_stacked_frames: int) -> ArrayT:
    """Return the observation whose oldest frame is ``frames[:, start]``.

    Args:
        frames: [B, F, C, H, W] or [B, F, D], in order of time.
        start: offset of the oldest frame; in a window that begins S - 1 frames before o_t,
            offset k gives o_{t+k}.
        num_stacked_frames: S.

    Returns:
        [B, S*C, H, W] or [B, S*D], oldest frame first. A view where the layout allows it.
    """
    batch_size, num_frames, num_channels, *rest = frames.shape
    stop = start + num_stacked_frames
    if start < 0 or stop > num_frames:
        raise ValueError(f"start: got {start}, wanted 0..{num_frames - num_stacked_frames}")
    window = frames[:, start:stop]
    return window.reshape((batch_size, num_stacked_frames * num_channels, *rest))

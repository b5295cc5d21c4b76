"""What stands before and after an episode in a window of fixed length. Used by ``slice_codec``."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray


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

"""Many trajectory slices as one record of stacked arrays: what replay hands to a reanalyzer.

Filled by ``replay``, read by ``targets`` and the reanalyzer. Shape legend: ``schema``. The
reanalyzer and the learner cut observations out of slices with ``stack_window``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from efficientzero.schema import F32, F64, I32, I64, U8, U64, Frames

if TYPE_CHECKING:
    import torch

ArrayT = TypeVar("ArrayT", Frames, "torch.Tensor")


class SliceBatch(NamedTuple):
    """B windows of episodes, each round a step t, padded to fixed length.

    Left padding repeats the episode's first frame, right padding its last. Everything else past
    the end of the episode is zero; ``steps_left`` says where that begins.
    """

    frames: Frames  # [B, S + K + n, *frame]; frames[:, S - 1] is o_t's newest frame
    actions: I32  # [B, K]
    rewards: F32  # [B, K + n]
    search_policies: F32  # [B, K + 1, A]
    root_values: F32  # [B, K + n + 1]
    steps_left: I32  # [B] T - t, clipped to K + n + 1 (rewards that exist from t on)
    endings: U8  # [B] Ending of the episode if it ends inside the window, else RUNNING
    positions: I64  # [B] index of step t in its episode, from 0
    env_steps: I64  # [B] env_steps of the run that were granted before step t
    weights_versions: I64  # [B] train_step of the weights that acted at t
    keys: U64  # [B] item keys, for the priority update
    probabilities: F64  # [B] at sampling time
    table_sizes: I64  # [B] items in the table at sampling time
    priorities: F64  # [B] at sampling time


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

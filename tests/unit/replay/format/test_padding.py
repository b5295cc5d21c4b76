import numpy as np
import pytest

from replay.format.padding import copy_then_zeros, repeat_edges


def test_missing_frames_repeat_the_first_and_the_last_real_one():
    frames = np.array([[9, 9], [1, 2], [3, 4], [9, 9], [9, 9]], np.uint8)
    repeat_edges(frames, first=1, stop=3)
    assert frames.tolist() == [[1, 2], [1, 2], [3, 4], [3, 4], [3, 4]]


def test_a_single_real_frame_fills_the_window():
    frames = np.array([[9.0], [5.0], [9.0]], np.float32)
    repeat_edges(frames, first=1, stop=2)
    assert frames.tolist() == [[5.0], [5.0], [5.0]]


def test_a_full_window_is_left_alone():
    frames = np.arange(12, dtype=np.uint8).reshape(4, 3)
    repeat_edges(frames, first=0, stop=4)
    assert frames.tolist() == np.arange(12).reshape(4, 3).tolist()


@pytest.mark.parametrize(("first", "stop"), [(0, 0), (2, 2), (-1, 2), (0, 4)])
def test_a_window_without_real_frames_is_refused(first, stop):
    with pytest.raises(ValueError, match="real frames"):
        repeat_edges(np.zeros((3, 1)), first=first, stop=stop)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [([1, 2], [1, 2, 0]), ([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4], [1, 2, 3])],
)
def test_what_the_source_lacks_is_zero_and_what_it_has_too_much_is_cut(source, wanted):
    target = np.array([7, 7, 7])
    copy_then_zeros(target, np.array(source))
    assert target.tolist() == wanted

"""JPEG frames against Pillow's own decoder, and where they come from."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from efficientzero.config.fields import CompatConfig, Config, EnvConfig
from efficientzero.envs import make_env_batch
from efficientzero.envs.atari.jpeg import jpeg_round_trip


def pillow_round_trip(frame):
    """Encode [C, H, W] with the reference's channel order and decode with Pillow."""
    image = frame.transpose(1, 2, 0)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    decoded = np.asarray(Image.open(io.BytesIO(encoded.tobytes())))
    # Pillow returns RGB; what OpenCV was given as its first channel comes last.
    return (decoded[:, :, ::-1] if decoded.ndim == 3 else decoded[:, :, None]).transpose(2, 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_frames_are_what_a_jpeg_of_quality_95_holds(channels):
    rng = np.random.default_rng(channels)
    squares = rng.integers(0, 256, (channels, 16, 16), dtype=np.uint8)
    frame = squares.repeat(6, 1).repeat(6, 2)  # across the blocks of 8 of JPEG
    got = jpeg_round_trip(frame)
    assert (got.dtype, got.shape) == (np.uint8, (channels, 96, 96))
    # Decoders may round and upsample colours a little differently.
    assert np.abs(got.astype(int) - pillow_round_trip(frame)).mean() < 1.0
    assert (got != frame).any()


def test_colours_keep_their_channels():
    frame = np.zeros((3, 16, 16), np.uint8)
    frame[0] = 200  # red
    got = jpeg_round_trip(frame).reshape(3, -1).mean(1)
    np.testing.assert_allclose(got, [200, 0, 0], atol=3)


def make_batch(env_id, *, jpeg_frames, purpose="training"):
    env = EnvConfig(id=env_id, max_episode_steps=0, final_eval_max_episode_steps=0)
    config = Config(env=env, compat=CompatConfig(jpeg_frames=jpeg_frames))
    return make_env_batch(config, seeds=[1, 2], purpose=purpose)


@pytest.mark.parametrize("env_id", ["ALE/Pong-v5", "Catch-v0"])
@pytest.mark.parametrize("purpose", ["evaluation", "final_evaluation", "training"])
def test_every_frame_of_an_environment_passes_and_nothing_else_changes(env_id, purpose):
    with_jpeg = make_batch(env_id, jpeg_frames=True, purpose=purpose)
    plain = make_batch(env_id, jpeg_frames=False, purpose=purpose)
    assert with_jpeg.spec == plain.spec
    rng = np.random.default_rng(0)
    frames = zip(with_jpeg.reset([0, 1]).frames, plain.reset([0, 1]).frames, strict=True)
    for _ in range(6):
        for got, raw in frames:
            np.testing.assert_array_equal(got, jpeg_round_trip(raw))
        actions = rng.integers(0, plain.spec.num_actions, 2)
        got_steps, raw_steps = with_jpeg.step([0, 1], actions), plain.step([0, 1], actions)
        for column, raw_column in zip(got_steps[1:], raw_steps[1:], strict=True):
            np.testing.assert_array_equal(column, raw_column)
        frames = zip(got_steps.observed.frames, raw_steps.observed.frames, strict=True)
    with_jpeg.close()
    plain.close()


def test_vectors_are_refused():
    with pytest.raises(ValueError, match=r"jpeg_frames: got frames \(4,\), wanted images"):
        make_batch("CartPole-v1", jpeg_frames=True)

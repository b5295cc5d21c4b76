"""Frames as the reference sees them: after JPEG, in training and evaluation alike.

Built by the factory round an image environment when ``compat.jpeg_frames`` is on. The reference
stores its frames this way; what is lost on the way is part of what its networks learn from.
"""

from __future__ import annotations

import cv2
import numpy as np

from efficientzero.envs.batch import EnvStep, SingleEnv
from efficientzero.schema import U8, Frames


class JpegFrames(SingleEnv):
    """A SingleEnv whose frames have been encoded and decoded with OpenCV's default quality."""

    def __init__(self, env: SingleEnv) -> None:
        """Take over ``env``, whose frames are images of one channel or three."""
        self.frame_shape, self.frame_dtype = env.frame_shape, env.frame_dtype
        self.num_actions, self.time_limit = env.num_actions, env.time_limit
        self._env = env

    def reset(self) -> Frames:
        """Start the next episode and return its first frame [C, H, W]."""
        return jpeg_round_trip(self._env.reset())

    def step(self, action: int) -> EnvStep:
        """Take one env_step."""
        step = self._env.step(action)
        return step._replace(frame=jpeg_round_trip(step.frame))

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


def jpeg_round_trip(frame: U8) -> U8:
    """Return ``frame``, u8 [C, H, W], after a JPEG encoder and decoder.

    OpenCV takes the first of three channels for blue. The reference gives it RGB, so the decoder
    returns RGB again, but what JPEG blurs is the colour difference of the swapped channels.
    """
    image = np.ascontiguousarray(frame.transpose(1, 2, 0))
    is_encoded, encoded = cv2.imencode(".jpg", image)
    if not is_encoded:
        raise ValueError(f"frame: got {frame.shape}, which OpenCV cannot encode as JPEG")
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), np.uint8)
    result: U8 = decoded.reshape(image.shape).transpose(2, 0, 1)
    return result

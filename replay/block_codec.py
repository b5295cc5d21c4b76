"""A block: up to L consecutive steps of an episode, frames and rows, as one string of bytes.

A zstd frame over

    frames [n, *frame], rows f32 [n, row_size]

where n follows from the size. Used by ``slice_codec``, which knows what is in a row.
"""

from __future__ import annotations

import numpy as np
import zstandard

from efficientzero.schema import F32, EnvSpec, Frames

_ZSTD_LEVEL = 1


class BlockPacker:
    """Collects the steps of one block after another; one episode's at a time."""

    def __init__(self, env_spec: EnvSpec, *, row_size: int, frames_per_block: int) -> None:
        """Fix the shapes; the memory is used for every block."""
        frames = np.empty((frames_per_block, *env_spec.frame_shape), env_spec.frame_dtype)
        self._frame_bytes, self._row_bytes = frames[0].nbytes, 4 * row_size
        # One buffer, because zstd takes one.
        self._buffer = np.empty(frames.nbytes + frames_per_block * self._row_bytes, np.uint8)
        self._frames = self._buffer[: frames.nbytes].view(frames.dtype).reshape(frames.shape)
        self._rows = np.empty((frames_per_block, row_size), np.float32)
        self._frame_shape = env_spec.frame_shape
        self._num_steps = 0
        self._compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)

    @property
    def is_full(self) -> bool:
        """Whether the block has all its steps."""
        return self._num_steps == len(self._rows)

    def add(self, frame: Frames) -> F32:
        """Copy one step's frame to the end of the block; return its row, to be filled in.

        Raises:
            ValueError: the frame is none of this environment's.
        """
        if frame.dtype != self._frames.dtype or frame.shape != self._frame_shape:
            got, wanted = (frame.dtype, frame.shape), (self._frames.dtype, self._frame_shape)
            raise ValueError(f"frame: got {got[0]} {got[1]}, wanted {wanted[0]} {wanted[1]}")
        place = self._num_steps
        self._frames[place] = frame
        self._num_steps = place + 1
        row: F32 = self._rows[place]
        return row

    def finish(self) -> bytes:
        """Return the block, full or not, and start the next."""
        num_steps = self._num_steps
        frames_end = num_steps * self._frame_bytes
        end = frames_end + num_steps * self._row_bytes
        self._buffer[frames_end:end] = self._rows[:num_steps].reshape(-1).view(np.uint8)
        self._num_steps = 0
        return self._compressor.compress(self._buffer[:end].data)

    def clear(self) -> None:
        """Forget the steps of an unfinished block."""
        self._num_steps = 0


class BlockUnpacker:
    """Reads blocks; not thread-safe."""

    def __init__(self, env_spec: EnvSpec, *, row_size: int, frames_per_block: int) -> None:
        """Fix the shapes of everything unpacked."""
        self._frame_shape = env_spec.frame_shape
        self._frame_dtype = np.dtype(env_spec.frame_dtype)
        self._frame_bytes = int(np.prod(self._frame_shape)) * self._frame_dtype.itemsize
        self._row_size, self._frames_per_block = row_size, frames_per_block
        self._decompressor = zstandard.ZstdDecompressor()

    def unpack(self, block: bytes) -> tuple[Frames, F32]:
        """Return the frames [n, *frame] and rows [n, row_size] of a block.

        Raises:
            ValueError: it is damaged, or not of this environment.
        """
        step_bytes = self._frame_bytes + 4 * self._row_size
        try:
            # Looked at first: what a damaged header claims would be allocated.
            num_bytes = zstandard.frame_content_size(block)
            num_steps = num_bytes // step_bytes
            if not 1 <= num_steps <= self._frames_per_block or num_bytes % step_bytes:
                raise ValueError(
                    f"block: got {num_bytes} bytes, wanted {step_bytes} for each of "
                    f"1..{self._frames_per_block} steps"
                )
            raw = self._decompressor.decompress(block)
        except zstandard.ZstdError as error:
            raise ValueError(f"block of {len(block)} bytes: damaged: {error}") from error
        frames_end = num_steps * self._frame_bytes
        num_elements = frames_end // self._frame_dtype.itemsize
        frames = np.frombuffer(raw, self._frame_dtype, num_elements)
        rows = np.frombuffer(raw, np.float32, num_steps * self._row_size, frames_end)
        return (
            frames.reshape(num_steps, *self._frame_shape),
            rows.reshape(num_steps, self._row_size),
        )

"""A block: up to L consecutive steps of an episode, frames and rows, as one string of bytes.

The output of the C++ packer, compressed with zstd. Used by ``slice_codec``, which defines the
fields of a row.
"""

from __future__ import annotations

import zstandard

from efficientzero.blocks import _blocks
from efficientzero.blocks._blocks import Block, BlockFormat
from efficientzero.schema import EnvSpec

_ZSTD_LEVEL = -1


def block_format(env_spec: EnvSpec, *, row_size: int, frames_per_block: int) -> BlockFormat:
    """Return the format of an environment's blocks."""
    return BlockFormat(
        frame_shape=env_spec.frame_shape,
        frame_dtype=env_spec.frame_dtype,
        row_size=row_size,
        max_steps=frames_per_block,
    )


class BlockPacker(_blocks.BlockPacker):
    """Collects steps into blocks, one after another; one episode at a time."""

    def __init__(self, block_format: BlockFormat) -> None:
        """Start an empty block."""
        super().__init__(block_format)
        self._compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)

    def finish(self) -> bytes:
        """Return the block, full or not, compressed, and start the next."""
        return self._compressor.compress(super().finish())


class BlockUnpacker:
    """Reads blocks; not thread-safe."""

    def __init__(self, block_format: BlockFormat) -> None:
        """Set the format of all blocks to unpack."""
        self._format = block_format
        self._decompressor = zstandard.ZstdDecompressor()

    def unpack(self, packed: bytes) -> Block:
        """Return the block's steps.

        Raises:
            ValueError: it is damaged, or not of this environment.
        """
        try:
            # Checked first, because the size in a damaged header would be allocated.
            num_bytes = zstandard.frame_content_size(packed)
            if not 0 < num_bytes <= self._format.max_bytes:
                wanted = f"at most {self._format.max_bytes}"
                raise ValueError(f"block: got {num_bytes} bytes, wanted {wanted}")
            return Block(self._format, self._decompressor.decompress(packed))
        except zstandard.ZstdError as error:
            raise ValueError(f"block of {len(packed)} bytes: damaged: {error}") from error

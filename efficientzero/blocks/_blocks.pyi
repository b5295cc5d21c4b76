"""Steps of an episode as bytes, frames without repeated parts (compiled from `blocks/`).

`blocks/step_block.h` defines the bytes. Not thread-safe. Invalid arguments raise `ValueError` with
what was got and wanted (`TypeError` for no number or no float32 array), and change nothing.
"""

from collections.abc import Sequence

from efficientzero.schema import F32, Frames

class BlockFormat:
    """The format of all blocks of an environment."""

    def __init__(
        self, *, frame_shape: Sequence[int], frame_dtype: str, row_size: int, max_steps: int
    ) -> None: ...
    @property
    def max_bytes(self) -> int:
        """Size of a block in which all lines change at every step."""

class BlockPacker:
    """Collects steps into blocks, one after another; one episode at a time."""

    def __init__(self, block_format: BlockFormat, /) -> None: ...
    def add(self, frame: Frames, numbers: tuple[float, ...], more: F32, /) -> bool:
        """Append a step: frame [*frame], row [row_size]: ``numbers`` and then ``more``.

        Returns:
            Whether the block is full now.
        """

    def finish(self) -> bytes:
        """Return the block, full or not, and start the next."""

    def clear(self) -> None:
        """Discard the steps of an unfinished block."""

class Block:
    """The steps of a block."""

    def __init__(self, block_format: BlockFormat, packed: bytes, /) -> None: ...
    @property
    def num_steps(self) -> int:
        """At least one."""

    def rows(self) -> F32:
        """Return the rows [num_steps, row_size]."""

    def copy_frames(self, target: Frames, first: int, /) -> int:
        """Write frames ``first``, ``first`` + 1... into ``target`` [N, *frame].

        Returns:
            Number of frames written: N, unless the block ended before.
        """

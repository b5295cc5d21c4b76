"""Steps of an episode as strings of bytes: what replay stores, packed in C++."""

from efficientzero.blocks.block_codec import BlockPacker, BlockUnpacker, block_format

__all__ = ["BlockPacker", "BlockUnpacker", "block_format"]

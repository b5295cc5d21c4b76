"""Steps of an episode packed into bytes, as replay stores them (C++)."""

from efficientzero.blocks.block_codec import BlockPacker, BlockUnpacker, block_format

__all__ = ["BlockPacker", "BlockUnpacker", "block_format"]

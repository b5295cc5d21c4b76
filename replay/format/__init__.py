"""How steps and training batches are packed, and what may be in them."""

from replay.format.batch_codec import NewArray, batch_spec, decode_batch, encode_batch
from replay.format.slice_codec import SliceCodec

__all__ = ["NewArray", "SliceCodec", "batch_spec", "decode_batch", "encode_batch"]

"""How steps and training batches are packed, and what may be in them."""

from replay.format.batch_codec import NewArray, batch_spec, decode_batch, encode_batch
from replay.format.row_layout import has_optional_groups
from replay.format.slice_codec import SliceCodec
from replay.format.training_batch import (
    BATCH_FIELDS,
    BatchField,
    Range,
    TrainingBatch,
    batch_fields,
)
from replay.format.window_frames import stack_window

__all__ = [
    "BATCH_FIELDS",
    "BatchField",
    "NewArray",
    "Range",
    "SliceCodec",
    "TrainingBatch",
    "batch_fields",
    "batch_spec",
    "decode_batch",
    "encode_batch",
    "has_optional_groups",
    "stack_window",
]

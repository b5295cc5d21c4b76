"""A training batch as one string of bytes, and back, checked against what the run expects.

Layout: CRC-32 of all that follows (u32), length of the header (u32), header (JSON, one entry per
field of ``TrainingBatch``), then the fields' bytes. Images are compressed (zstd), the rest lies as
it is. Used by ``training_queue``; knows no Reverb.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from efficientzero.config import Config, has_local_targets, num_actions_in_slice, num_refreshed
from efficientzero.schema import EnvSpec, PolicyShape
from replay.format.training_batch import BATCH_FIELDS, BatchField, TrainingBatch

_ZSTD_LEVEL = 1
_NUMBER = struct.Struct("<I")
_MOST_HEAD_BYTES = 16_384

FieldSpec = tuple[str, tuple[int, ...]]
"""dtype name and shape"""

NewArray = Callable[[tuple[int, ...], str], NDArray[Any]]


def batch_spec(
    env_spec: EnvSpec, config: Config, fields: Mapping[str, BatchField] = BATCH_FIELDS
) -> dict[str, FieldSpec]:
    """Return dtype and shape of every field of the run's training batches."""
    is_local = has_local_targets(config)
    # A maximum over actions is one over legal ones.
    has_masks = is_local and env_spec.has_legal_actions and config.agent.value_function == "action"
    policy = PolicyShape.of(env_spec, config.search.sampled_actions)
    sizes = {
        "B": config.learner.batch_size,
        "S": env_spec.num_stacked_frames,
        "K": config.agent.num_unroll_steps,
        "A": env_spec.num_actions,
        "W": policy.width,
        "X": policy.action_size,
        "M": env_spec.num_actions if has_masks else 0,
        "H": len(config.agent.auxiliary_discounts),
        "R": num_refreshed(config),
        "D": (config.agent.num_unroll_steps + 1 if config.learner.action_value_coefficient else 0),
        "L": config.agent.num_unroll_steps + 1 if is_local else 0,
        "N": config.agent.td_steps if is_local else 0,
        "Q": num_actions_in_slice(config.agent) - config.agent.num_unroll_steps,
        "1": 1,
    }

    def shape(field: BatchField) -> Iterator[int]:
        for dimension in field.shape.split():
            if dimension == "*frame":
                yield from env_spec.frame_shape
            else:
                yield sum(sizes[term] for term in dimension.split("+"))

    return {
        name: (field.dtype or env_spec.frame_dtype, tuple(shape(field)))
        for name, field in fields.items()
    }


def encode_batch(batch: TrainingBatch) -> bytes:
    """Return ``batch`` as bytes."""
    header, payloads = [], []
    for name, array in batch._asdict().items():
        # A view of nothing cannot be cast.
        data = np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")
        is_packed = array.dtype == np.uint8
        payload = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data) if is_packed else data
        header.append([name, array.dtype.name, list(array.shape), is_packed, len(payload)])
        payloads.append(payload)
    head = json.dumps(header).encode()
    body = b"".join([_NUMBER.pack(len(head)), head, *payloads])
    return _NUMBER.pack(zlib.crc32(body)) + body


def decode_batch(
    encoded: bytes, wanted: Mapping[str, FieldSpec], new_array: NewArray = np.empty
) -> TrainingBatch:
    """Return the batch in writable arrays.

    Args:
        encoded: what ``encode_batch`` made.
        wanted: dtype and shape of every field.
        new_array: makes each array from shape and dtype; its contents do not matter.

    Raises:
        ValueError: Its bytes are not those that were made, or a field is missing or is not as
            ``wanted``.
    """
    view = _checked(memoryview(encoded))
    header, place = _header(view)
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype, shape, is_packed, num_bytes in header:
        got: FieldSpec = (dtype, shape)
        if got != wanted.get(name) or name in arrays:
            raise ValueError(f"training batch, {name}: got {got}, wanted {wanted.get(name)}")
        array = new_array(shape, dtype)
        _fill(array, view[place : place + num_bytes], is_packed=is_packed)
        arrays[name] = array
        place += num_bytes
    for name, (dtype, shape) in wanted.items():
        if 0 in shape and name not in arrays:  # written by a version that had no such field
            arrays[name] = new_array(shape, dtype)
    if set(arrays) != set(wanted):
        raise ValueError(f"training batch: got {sorted(arrays)}, wanted {sorted(wanted)}")
    return TrainingBatch(**arrays)


def _header(view: memoryview) -> tuple[list[tuple[str, str, tuple[int, ...], bool, int]], int]:
    """Return name, dtype, shape, whether compressed and bytes of each field, and where they start.

    The sender of the bytes may also have computed the checksum, so every field is checked.

    Raises:
        ValueError: it is no header.
    """
    (head_bytes,) = _NUMBER.unpack_from(view)
    start = _NUMBER.size + head_bytes
    if head_bytes > min(_MOST_HEAD_BYTES, len(view) - _NUMBER.size):
        raise ValueError(f"training batch: got a header of {head_bytes} bytes of {len(view)}")
    try:
        fields = [
            (
                str(name),
                str(dtype),
                tuple(int(length) for length in shape),
                bool(is_packed),
                max(0, int(num_bytes)),
            )
            for name, dtype, shape, is_packed, num_bytes in json.loads(
                view[_NUMBER.size : start].tobytes()
            )
        ]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"training batch: its header cannot be read: {error}") from None
    return fields, start


def _checked(encoded: memoryview) -> memoryview:
    """Return what follows the checksum; most damaged bytes would be trained on unnoticed."""
    if len(encoded) < 2 * _NUMBER.size:
        raise ValueError(f"training batch: got {len(encoded)} bytes, wanted a header")
    (wanted,) = _NUMBER.unpack_from(encoded)
    body = encoded[_NUMBER.size :]
    got = zlib.crc32(body)
    if got != wanted:
        raise ValueError(
            f"training batch of {len(encoded)} bytes: got CRC-32 {got:#010x}, wanted "
            f"{wanted:#010x}: damaged between reanalyzer and learner; it is not trained on"
        )
    return body


def _fill(array: NDArray[Any], payload: memoryview, *, is_packed: bool) -> None:
    target = array.data.cast("B") if array.size else memoryview(bytearray())
    if is_packed:
        reader = zstandard.ZstdDecompressor().stream_reader(payload)
        filled = 0
        while filled < len(target):
            try:
                count = reader.readinto(target[filled:])
            except zstandard.ZstdError as error:
                raise ValueError(f"compressed field: {error}") from None
            if count == 0:
                raise ValueError(f"compressed field: got {filled} bytes, wanted {len(target)}")
            filled += count
    elif len(payload) != len(target):
        raise ValueError(f"field: got {len(payload)} bytes, wanted {len(target)}")
    else:
        target[:] = payload

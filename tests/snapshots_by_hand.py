"""Snapshots of replay written byte by byte, as Reverb's file format has it, without Reverb."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path


def varint(number: int) -> bytes:
    """Encode a whole number as protobuf does."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def number_field(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def bytes_field(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def double_field(field: int, value: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", value)


def table(name: str, *, capacity: int, inserted: int, deleted: int, sampler: bytes) -> bytes:
    """Encode a PriorityTableCheckpoint, with fields among ours that nobody reads."""
    limiter = (
        double_field(2, 1.0)
        + double_field(3, -1e300)
        + number_field(5, 1)
        + number_field(6, 17)
        + number_field(7, inserted)
        + number_field(8, deleted)
    )
    return (
        bytes_field(1, name.encode())
        + bytes_field(3, limiter)
        + bytes_field(4, sampler)
        + bytes_field(5, bytes_field(1, b"") + number_field(7, 1))
        + number_field(6, capacity)
        + number_field(8, 3)
    )


def record(data: bytes) -> bytes:
    """Frame one TFRecord; nobody here looks at the checksums."""
    return struct.pack("<Q", len(data)) + b"\1\2\3\4" + data + b"\5\6\7\10"


def write_snapshot(
    folder: Path,
    *,
    inserted: int = 100,
    deleted: int = 0,
    capacity: int = 20_000,
    exponent: float = 0.6,
    queue_size: int = 2,
    name: str = "trajectories_4",
    content: bytes = b"items and chunks",
) -> Path:
    """Write a finished snapshot of the two tables; an exponent of 0 is a uniform sampler."""
    folder.mkdir(parents=True)
    uniform, prioritized = bytes_field(2, b""), bytes_field(3, double_field(1, exponent))
    sampler = prioritized if exponent else uniform
    tables = [
        table(name, capacity=capacity, inserted=inserted, deleted=deleted, sampler=sampler),
        table(
            "training_queue",
            capacity=queue_size,
            inserted=9,
            deleted=9,
            sampler=bytes_field(1, b""),
        ),
    ]
    packed = zlib.compress(b"".join(map(record, tables)))
    (folder / "tables.tfrecord").write_bytes(packed)
    for stream in ("items", "chunks"):
        (folder / f"{stream}.tfrecord").write_bytes(zlib.compress(content + stream.encode()))
    (folder / "DONE").touch()
    return folder

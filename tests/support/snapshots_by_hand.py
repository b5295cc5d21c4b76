"""Snapshots of replay as Reverb writes them, made without a service."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from replay.driver import reverb_lite


def table(name: str, *, capacity: int, inserted: int, deleted: int, exponent: float) -> bytes:
    """Encode a table's settings and counts as Reverb does; an exponent of 0 is another sampler."""
    message = reverb_lite.table_checkpoint()(
        table_name=name,
        max_size=capacity,
        rate_limiter={"insert_count": inserted, "delete_count": deleted, "sample_count": 17},
        sampler={"prioritized": {"priority_exponent": exponent}} if exponent else {"uniform": True},
    )
    return bytes(message.SerializeToString())


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
    tables = [
        table(name, capacity=capacity, inserted=inserted, deleted=deleted, exponent=exponent),
        table("training_queue", capacity=queue_size, inserted=9, deleted=9, exponent=0.0),
    ]
    packed = zlib.compress(b"".join(map(record, tables)))
    (folder / "tables.tfrecord").write_bytes(packed)
    for stream in ("items", "chunks"):
        (folder / f"{stream}.tfrecord").write_bytes(zlib.compress(content + stream.encode()))
    (folder / "DONE").touch()
    return folder

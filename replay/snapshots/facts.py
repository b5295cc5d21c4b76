"""Counts, sizes and sampler of a snapshot of replay on disk, read without a service.

Used by the launcher before a run is started from a snapshot. Reverb restores a table with the
settings that it was written with, not those of the run's config, so they are read from the file.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from replay.driver import reverb_lite
from replay.snapshots.folder import STREAMS, is_intact
from replay.tables import TRAINING_QUEUE, TRAJECTORIES, TRAJECTORIES_IN_USE

_READ_BYTES = 1 << 20
_LENGTH = struct.Struct("<Q")
_CRC_BYTES = 4
_DIGEST_LENGTH = 12
_STEPS = TRAJECTORIES.rpartition("_")[0]  # beginning of the steps' table's name in every format


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFacts:
    """Facts of a complete snapshot."""

    digest: str
    """12 hex digits of the SHA-256 of its files."""
    steps_inserted: int
    """Steps ever inserted, evicted ones included."""
    num_steps: int
    """Steps held."""
    capacity: int
    priority_exponent: float
    """0: sampled uniformly."""
    queue_size: int


def read_snapshot(snapshot: Path) -> SnapshotFacts:
    """Read a snapshot's facts and its digest; takes about as long as reading its files.

    Raises:
        ValueError: damaged, unfinished, or of other tables than ours.
        OSError: it cannot be read.
    """
    if not is_intact(snapshot):
        raise ValueError(f"{snapshot}: damaged, or never finished")
    try:
        tables = _tables(snapshot)
        name = next((name for name in TRAJECTORIES_IN_USE if name in tables), TRAJECTORIES)
        check_format(snapshot, name)
        steps, queue = tables[name], tables[TRAINING_QUEUE]
    except (KeyError, struct.error, DecodeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{snapshot}: not a snapshot of a run's replay: {reason}") from error
    counts = steps.rate_limiter
    return SnapshotFacts(
        digest=_digest(snapshot),
        steps_inserted=counts.insert_count,
        num_steps=counts.insert_count - counts.delete_count,
        capacity=steps.max_size,
        priority_exponent=steps.sampler.prioritized.priority_exponent,
        queue_size=queue.max_size,
    )


def check_format(snapshot: Path, wanted: str) -> None:
    """Check that the steps in a snapshot are in the format of this version.

    Args:
        snapshot: its folder.
        wanted: name of the steps' table.

    Raises:
        ValueError: they are not.
    """
    names = _tables(snapshot)
    if wanted not in names:
        others = [name for name in names if name.startswith(_STEPS)] or [*names]
        got = ", ".join(map(repr, others)) or "no table"
        raise ValueError(
            f"{snapshot}: not a snapshot of a run's replay in this version's format: got steps in "
            f"{got}, wanted {wanted!r}"
        )


def _tables(snapshot: Path) -> dict[str, Any]:
    """Return a snapshot's tables by name."""
    return {table.table_name: table for table in _records(snapshot / "tables.tfrecord")}


def _records(path: Path) -> Iterator[Any]:
    """Return the tables in one of Reverb's files: TFRecords in a zlib stream, a table each."""
    raw, start = zlib.decompress(path.read_bytes()), 0
    table = reverb_lite.table_checkpoint()
    while start < len(raw):
        (length,) = _LENGTH.unpack_from(raw, start)
        start += _LENGTH.size + _CRC_BYTES
        yield table.FromString(raw[start : start + length])
        start += length + _CRC_BYTES


def _digest(snapshot: Path) -> str:
    digest = hashlib.sha256()
    for name in STREAMS:
        digest.update(file_sha256(snapshot / name).encode())
    return digest.hexdigest()[:_DIGEST_LENGTH]


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

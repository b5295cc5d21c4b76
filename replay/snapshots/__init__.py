"""The replay service's snapshots on disk."""

from replay.snapshots.facts import SnapshotFacts, check_format, file_sha256, read_snapshot
from replay.snapshots.folder import (
    FILES,
    STREAMS,
    SnapshotFolder,
    in_order,
    link_or_copy,
    newest_size,
    reverbs_name,
)
from replay.snapshots.request import SnapshotFailed, request_snapshot

__all__ = [
    "FILES",
    "STREAMS",
    "SnapshotFacts",
    "SnapshotFailed",
    "SnapshotFolder",
    "check_format",
    "file_sha256",
    "in_order",
    "link_or_copy",
    "newest_size",
    "read_snapshot",
    "request_snapshot",
    "reverbs_name",
]

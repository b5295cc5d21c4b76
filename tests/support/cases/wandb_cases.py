"""Files in wandb's own format, made by hand, for tests."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from efficientzero.runs.run_folder import RunInfo

BLOCK_BYTES, HEADER_BYTES = 32_768, 7


def wandb_log(records: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """Return records as wandb's log keeps them, and the byte at which each begins.

    None may be longer than a block.
    """
    data, starts = b":W&B" + struct.pack("<HB", 0xBEE1, 0), []
    for body in records:
        left = BLOCK_BYTES - len(data) % BLOCK_BYTES
        if left < HEADER_BYTES:
            data, left = data + bytes(left), BLOCK_BYTES
        starts.append(len(data))
        room = left - HEADER_BYTES
        parts = [body] if len(body) <= room else [body[:room], body[room:]]
        for kind, part in zip((1,) if len(parts) == 1 else (2, 4), parts, strict=True):
            crc = zlib.crc32(part, zlib.crc32(bytes([kind])))
            data += struct.pack("<IHB", crc, len(part), kind) + part
    return data, starts


def wandb_file(run: RunInfo, process: str, *, rows: int = 1, launch: int = 0) -> str:
    """Record like a process of the run; return the folder's name."""
    folder = run.directory / "wandb" / f"offline-run-2026010{launch}_000000-{run.run_uid}-{process}"
    folder.mkdir(parents=True)
    # A record begins with its number (field 1); field 2 is a row of metrics, field 17 the run.
    records = [b"\x08\x01\x8a\x01\x02id", *[b"\x08\xac\x02\x12\x03row"] * rows]
    (folder / f"run-{run.run_uid}-{process}.wandb").write_bytes(wandb_log(records)[0])
    return folder.name

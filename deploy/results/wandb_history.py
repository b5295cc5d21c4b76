"""Reads what the wandb tracker wrote: transaction logs, through wandb's own protobuf.

Online and offline runs leave the same file. One cut short by a killed or living writer is read up
to the cut, a damaged one up to the damage, which is noted. wandb's own reader opens files for
writing and stops at a cut with an assertion.
"""

from __future__ import annotations

import json
import logging
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK_BYTES = 32_768
_HEADER_BYTES = 7
_FULL, _FIRST, _LAST = 1, 2, 4
_KINDS = range(_FULL, _LAST + 1)
_HISTORY = re.compile(rb"\x08[\x80-\xff]*[\x00-\x7f]\x12")
"""How a record with a row begins: its number, field 1 of wandb's Record, then field 2, the row."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """One row that one process of a run logged."""

    job_type: str
    """The role: learner, actor, reanalyzer, replay, evaluator."""
    index: int
    """Number of the process within its role."""
    values: dict[str, float]
    """Metric -> value. wandb's own begin with ``_``: ``_timestamp`` is in seconds since 1970."""


@dataclass
class WandbRun:
    """One process's file."""

    path: Path
    entity: str = ""
    project: str = ""
    run_id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    """Metric name or glob -> the metric it is drawn over; empty: wandb's own step."""
    exit_code: int | None = None
    damaged_at: int | None = None
    """Byte that a damaged file was read up to. None: it is whole, or cut short at its end."""

    @property
    def damage(self) -> str:
        """In one line what is damaged and how much of it was read; empty if nothing is."""
        if self.damaged_at is None:
            return ""
        return f"{self.path}: damaged at byte {self.damaged_at}, read up to there"

    def keys(self) -> set[str]:
        """Return the names of all metrics logged."""
        return {key for row in self.rows for key in row if not key.startswith("_")}

    def series(self, key: str) -> list[Any]:
        """Return the values of one metric, in the order they were logged."""
        return [row[key] for row in self.rows if key in row]


def read_rows(run_dir: Path) -> list[Row]:
    """Return every row that the processes of one run logged, numbers only.

    Args:
        run_dir: ``runs/<id>``.

    Returns:
        Rows by role, then index, then in the order they were logged; those of a process that was
        started again follow its predecessor's. Empty if the run was not tracked. Damaged files are
        logged.

    Raises:
        ValueError: a file that wandb did not write.
    """
    files = find_runs(run_dir / "wandb")
    for damage in filter(None, (file.damage for file in files)):
        log.warning("%s", damage)
    runs = [file for file in files if file.job_type]
    runs.sort(key=lambda run: (run.job_type, _index(run), run.config.get("incarnation", 0)))
    return [
        Row(run.job_type, _index(run), {k: v for k, v in row.items() if _is_number(v)})
        for run in runs
        for row in run.rows
    ]


def find_runs(root: Path) -> list[WandbRun]:
    """Read every process's file below ``root``, oldest first.

    Raises:
        OSError: the folder or a file may not be read.
        ValueError: a file that wandb did not write.
    """
    if root.is_dir():
        os.listdir(root)  # glob is silent about a folder that it may not read
    return [read_run(path) for path in sorted(root.glob("**/*run-*/run-*.wandb"))]


def has_rows(folder: Path) -> bool:
    """Return whether one process's folder holds a metric row; reads no more than needed.

    Without wandb's protobuf, whose import takes a second.
    """
    for path in folder.glob("run-*.wandb"):
        try:
            if any(_HISTORY.match(raw) for raw in _Records(path)):
                return True
        except (OSError, ValueError):
            continue
    return False


def read_run(path: Path) -> WandbRun:
    """Read one ``.wandb`` file."""
    from wandb.proto import wandb_internal_pb2  # noqa: PLC0415  1.2 s: only for those who read

    run, records = WandbRun(path), _Records(path)
    for raw in records:
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
        record.ParseFromString(raw)
        _add(run, record)
    run.config.pop("_wandb", None)
    run.damaged_at = records.damaged_at
    return run


def _index(run: WandbRun) -> int:
    return int(run.config.get("role_index", 0))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _add(run: WandbRun, record: Any) -> None:  # noqa: ANN401  a protobuf message
    kind = record.WhichOneof("record_type")
    if kind == "run":
        fields = record.run
        run.entity, run.project, run.run_id = fields.entity, fields.project, fields.run_id
        run.name, run.group, run.job_type = fields.display_name, fields.run_group, fields.job_type
        run.tags = tuple(fields.tags)
        _update(run.config, fields.config.update)
    elif kind == "config":
        _update(run.config, record.config.update)
    elif kind == "history":
        row: dict[str, Any] = {}
        _update(row, record.history.item)
        run.rows.append(row)
    elif kind == "summary":
        _update(run.summary, record.summary.update)
    elif kind == "metric":
        run.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
    elif kind == "exit":
        run.exit_code = record.exit.exit_code


def _update(target: dict[str, Any], items: Iterable[Any]) -> None:
    for item in items:
        *parents, leaf = list(item.nested_key) or [item.key]
        inner = target
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[leaf] = json.loads(item.value_json)


class _Records:
    """The whole records of a LevelDB log: 32 KiB blocks of (crc, length, type, body)."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            OSError: it cannot be read.
            ValueError: wandb did not write it.
        """
        self._data = path.read_bytes()
        self.damaged_at: int | None = None
        """Set when all was read; see ``WandbRun.damaged_at``."""
        if len(self._data) >= _HEADER_BYTES and self._data[:4] != b":W&B":
            raise ValueError(f"{path}: not a .wandb file")

    def __iter__(self) -> Iterator[bytes]:
        position = _HEADER_BYTES
        parts: list[bytes] = []
        while True:
            left = _BLOCK_BYTES - position % _BLOCK_BYTES
            if left < _HEADER_BYTES:  # padding at the end of a block
                position += left
                continue
            part = self._part(position)
            if part is None:
                self.damaged_at = None if self._is_cut(position) else position
                return
            kind, body = part
            position += _HEADER_BYTES + len(body)
            if kind in (_FULL, _FIRST):
                parts = []
            parts.append(body)
            if kind in (_FULL, _LAST):
                yield b"".join(parts)

    def _part(self, position: int) -> tuple[int, bytes] | None:
        """Return type and body of what begins there, None if it is not whole."""
        start, data = position + _HEADER_BYTES, self._data
        if start > len(data):
            return None
        crc, length, kind = struct.unpack_from("<IHB", data, position)
        if kind not in _KINDS or start + length > len(data):
            return None
        body = data[start : start + length]
        return (kind, body) if zlib.crc32(body, zlib.crc32(bytes([kind]))) == crc else None

    def _is_cut(self, position: int) -> bool:
        """Return whether the file ends within what begins there, as a killed writer leaves it."""
        start, size = position + _HEADER_BYTES, len(self._data)
        if start > size:
            return True
        _, length, kind = struct.unpack_from("<IHB", self._data, position)
        in_block = position % _BLOCK_BYTES + _HEADER_BYTES + length <= _BLOCK_BYTES
        if kind not in _KINDS or start + length <= size or not in_block:
            return False
        # The length is not in the checksum: a wrong one has whole records behind it.
        return not any(self._part(other) for other in range(start, size - _HEADER_BYTES))

"""Reads what the wandb tracker wrote: transaction logs, through wandb's own protobuf.

Online and offline runs leave the same file. One cut short by a killed or living writer is read up
to the cut. wandb's own reader opens files for writing and stops at a cut with an assertion.
"""

from __future__ import annotations

import json
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
_HISTORY = re.compile(rb"\x08[\x80-\xff]*[\x00-\x7f]\x12")
"""How a record with a row begins: its number, field 1 of wandb's Record, then field 2, the row."""


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
        started again follow its predecessor's. Empty if the run was not tracked.

    Raises:
        ValueError: a file that wandb did not write.
    """
    runs = [run for run in find_runs(run_dir / "wandb") if run.job_type]
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
    """Tell whether one process's folder holds at least one metric row; reads no more than needed.

    Without wandb's protobuf, whose import takes a second.
    """
    for path in folder.glob("run-*.wandb"):
        try:
            if any(_HISTORY.match(raw) for raw in _raw_records(path.read_bytes(), path)):
                return True
        except (OSError, ValueError):
            continue
    return False


def read_run(path: Path) -> WandbRun:
    """Read one ``.wandb`` file."""
    from wandb.proto import wandb_internal_pb2  # noqa: PLC0415  1.2 s: only for those who read

    run = WandbRun(path)
    for raw in _raw_records(path.read_bytes(), path):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
        record.ParseFromString(raw)
        _add(run, record)
    run.config.pop("_wandb", None)
    return run


def _index(run: WandbRun) -> int:
    return int(run.config.get("role_index", 0))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _add(run: WandbRun, record: Any) -> None:  # noqa: ANN401  a protobuf message
    kind = record.WhichOneof("record_type")
    if kind == "run":
        told = record.run
        run.entity, run.project, run.run_id = told.entity, told.project, told.run_id
        run.name, run.group, run.job_type = told.display_name, told.run_group, told.job_type
        run.tags = tuple(told.tags)
        _update(run.config, told.config.update)
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


def _raw_records(data: bytes, path: Path) -> Iterator[bytes]:
    """Yield whole records of a LevelDB log: 32 KiB blocks of (crc, length, type, body)."""
    if len(data) < _HEADER_BYTES:
        return
    if data[:4] != b":W&B":
        raise ValueError(f"{path}: not a .wandb file")
    position = _HEADER_BYTES
    parts: list[bytes] = []
    while True:
        left = _BLOCK_BYTES - position % _BLOCK_BYTES
        if left < _HEADER_BYTES:  # padding at the end of a block
            position += left
            continue
        if position + _HEADER_BYTES > len(data):
            return
        crc, length, kind = struct.unpack_from("<IHB", data, position)
        body = data[position + _HEADER_BYTES : position + _HEADER_BYTES + length]
        if kind == 0 or len(body) < length or zlib.crc32(body, zlib.crc32(bytes([kind]))) != crc:
            return  # torn by a kill
        position += _HEADER_BYTES + length
        if kind in (_FULL, _FIRST):
            parts = []
        parts.append(body)
        if kind in (_FULL, _LAST):
            yield b"".join(parts)

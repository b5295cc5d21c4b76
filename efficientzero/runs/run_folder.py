"""The run folder ``runs/<id>/``: the file that every role reads, and the results.

Written by the launcher before any process starts; read by each role's ``--config``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efficientzero.config import Config, ConfigError, config_from_dict, config_hash, config_to_dict
from efficientzero.runs.lineage import Lineage
from efficientzero.schema import EnvSpec

log = logging.getLogger(__name__)
CONFIG_FILE = "config.json"
RELAYED = "tls://"
"""Prefix of replay's address if clients use its relay, with TLS and a token."""

_MAX_RUN_ID_LENGTH = 100
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")


def check_run_id(run_id: str) -> None:
    """Check the name of a new run's folder.

    Raises:
        ValueError: not a valid name.
    """
    if not _RUN_ID.fullmatch(run_id) or len(run_id) > _MAX_RUN_ID_LENGTH:
        raise ValueError(
            f"got {run_id!r}, wanted at most {_MAX_RUN_ID_LENGTH} letters, digits and . _ = + -, "
            "the first a letter or digit"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """Everything a role must know, apart from its own role and index."""

    run_id: str
    """Name of the run folder."""
    run_uid: str
    """8 random hex digits made at launch; prefix of every wandb id of this run."""
    group: str
    """wandb group: environment, nearest preset and differences from it, without the seed."""
    directory: Path
    """The run folder that this was read from."""
    config: Config
    env_spec: EnvSpec
    replay_address: str
    """host:port of the Reverb service for clients; with ``tls://`` it is replay's relay."""
    learner_address: str
    """host:port of the learner's gRPC services for clients."""
    tracking_mode: str
    """online, offline or disabled, as resolved by the launcher."""
    versions: dict[str, str]
    """Versions of this run's dependencies, for the summary."""
    num_resumes: int = 0
    """How often the run was continued by a launcher; part of its processes' seeds."""
    lineage: Lineage | None = None
    """The other run that this one started from; None: it began empty."""

    @property
    def config_path(self) -> Path:
        """The file written by save()."""
        return self.directory / CONFIG_FILE

    @property
    def learner_listens_at(self) -> str:
        """host:port the learner binds."""
        return self._bound(self.learner_address)

    @property
    def replay_listens_at(self) -> str:
        """host:port that the Reverb service binds; port 0: a free one."""
        address = self.replay_address
        if not self.config.cluster.has_relay:
            return self._bound(address)
        return address if address.startswith("127.") else "127.0.0.1:0"

    @property
    def relay_port(self) -> int | None:
        """The port of replay's relay; None: there is none."""
        cluster = self.config.cluster
        return cluster.replay_port if cluster.has_relay else None

    def _bound(self, address: str) -> str:
        return f"{self.config.cluster.bind_host}:{address.rpartition(':')[2]}"

    @property
    def config_hash(self) -> str:
        """Hash of the fields that can change the result, without the seed."""
        return config_hash(self.config, self.lineage.values if self.lineage else {})

    def save(self) -> None:
        """Write ``config.json`` atomically."""
        write_json(self.config_path, self._values())

    def to_json(self) -> str:
        """Return what ``save`` writes, for a process on another host."""
        return json.dumps(self._values())

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["directory"] = str(self.directory.resolve())
        values["config"] = config_to_dict(self.config)
        values["env_spec"] = dataclasses.asdict(self.env_spec)
        values["lineage"] = self.lineage and dataclasses.asdict(self.lineage)
        values["config_hash"] = self.config_hash
        return values

    @classmethod
    def load(cls, path: Path | str) -> RunInfo:
        """Read a file written by save().

        ``directory`` is the folder that holds the file now: the folder may have been moved or
        copied since the file was written.

        Raises:
            ValueError: not such a file; the message names what is missing or wrong.
        """
        path = Path(path)
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(f"{path}: not a run's config.json: {reason}") from error
        run = cls.from_json(text, str(path))
        return dataclasses.replace(run, directory=path.parent.resolve())

    def moved_from(self) -> Path | None:
        """Return where this folder was when its ``config.json`` was written, if not here.

        Then it has been copied or moved; only the path shows that.
        """
        before = Path(json.loads(self.config_path.read_text())["directory"])
        with contextlib.suppress(OSError):  # it is gone, or on another machine
            if before.samefile(self.directory):
                return None
        return None if before == self.directory.resolve() else before

    @classmethod
    def from_json(cls, text: str, source: str) -> RunInfo:
        """Read what ``to_json`` returned; ``source`` names it in errors.

        Raises:
            ValueError: as ``load``.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            stored_hash = values.pop("config_hash")
            values["env_spec"] = EnvSpec.from_json(values["env_spec"])
            values["config"] = config_from_dict(values["config"])
            values["directory"] = Path(values["directory"])
            lineage = values.get("lineage")
            values["lineage"] = lineage and Lineage(**lineage)
            values.pop("more_replay_addresses", None)  # of earlier versions; empty with one service
            run = cls(**values)
        except ConfigError as error:
            raise ValueError(f"{source}: {error}") from error
        except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{source}: not a run's config.json: {type(error).__name__}: {error}"
            ) from error
        if run.config_hash != stored_hash:
            raise ValueError(
                f"{source}: edited, or written by another version of this software: its "
                f"config hash is {run.config_hash} here, {stored_hash} there"
            )
        return run


def read_lines(path: Path, *, is_written: bool = False) -> list[dict[str, Any]]:
    """Return the records of a ``.jsonl`` file, oldest first.

    A line cut short by a crash or a full disk, or otherwise invalid, is skipped with a warning.

    Args:
        path: the file; if it is missing there are no records.
        is_written: a process is writing it, so an unfinished last line gives no warning.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    records = []
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        if record is not None:
            records.append(record)
        elif line and not (is_written and number == len(lines)):
            _note_bad_line(path, number)
    return records


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:  # no JSON, or no UTF-8
        return None
    return record if isinstance(record, dict) else None


@functools.lru_cache(maxsize=1024)
def _note_bad_line(path: Path, number: int) -> None:
    """Warn once: some files are read every second."""
    log.warning("%s: line %d is cut short or damaged and left out", path, number)


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Append whole lines, on a new line if the file ends in the middle of one.

    Raises:
        OSError: disk full, folder gone. As far as possible none of the lines is left in the file.
    """
    with path.open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        is_torn = False
        if size:
            file.seek(size - 1)
            is_torn = file.read(1) != b"\n"
        data = "".join(["\n" * is_torn, *(line + "\n" for line in lines)]).encode()
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(size)
            raise


def rewrite_lines(path: Path, records: Iterable[Any]) -> None:
    """Replace a ``.jsonl`` file atomically with one line for each record.

    Raises:
        OSError: the write failed; the file is unchanged.
    """
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, values: Any) -> None:  # noqa: ANN401  any JSON value
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(values, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(PermissionError):  # a file system without modes
            os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

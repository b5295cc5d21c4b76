"""The command lines of the roles: the run, and the process's role and index in it."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from efficientzero.config import is_device
from efficientzero.process.options import parse_options, port_problem, refuse_options
from efficientzero.process.runtime import LAUNCHER_PID_VARIABLE
from efficientzero.rpc.credentials import CREDENTIALS_VARIABLE, use_local_credentials
from efficientzero.runs.run_folder import RunInfo
from efficientzero.runs.start_counts import count_start

_LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLine:
    """Options of replay and the learner, which need the run folder."""

    config: Path
    """The run's config.json, as launch.py wrote it."""
    index: int = 0
    """Which process of this role; part of its seeds and of its name."""
    incarnation: int | None = None
    """How often this process was started again before. Default: as the run folder counts."""
    config_wait: float = 0.0
    """Longest wait for the file, seconds."""
    credentials: Path | None = None
    """Folder with token, certificate and key. Default: EFFICIENTZERO_CREDENTIALS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLine:
    """Options of actors, reanalyzers and the evaluator, which need the learner's address."""

    join: str = ""
    """host:port of the learner, which sends the rest of the configuration."""
    config: Path | None = None
    """Instead of --join: the run's config.json, as launch.py wrote it."""
    index: int = 0
    """With --config: which process of this role; part of its seeds and of its name."""
    incarnation: int = 0
    """With --config: how often this process was started again before."""
    runs_dir: Path = Path("runs")
    """With --join: folder on this host for the process's files."""
    credentials: Path | None = None
    """Folder with token and CA certificate. Default: EFFICIENTZERO_CREDENTIALS."""
    device: str = ""
    """torch device of this process: auto, cpu, cuda or cuda:N. Default: the config's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleArguments:
    """The parsed command line of a role's process."""

    run: RunInfo
    index: int
    incarnation: int


def parse_server_line(role: str, description: str | None) -> RoleArguments:
    """Parse ``sys.argv`` and read the run file; a bad one ends the process with one line."""
    line: ServerLine = parse_options(
        ServerLine, sys.argv[1:], prog=f"python -m {role}", description=description
    )
    _take_credentials(line.credentials)
    deadline = time.monotonic() + line.config_wait
    if line.config_wait and not line.config.exists():
        print(f"{role}: waiting for {line.config}", file=sys.stderr, flush=True)
    while time.monotonic() < deadline and not line.config.exists():
        time.sleep(_LOOK_S)
    run = read_run(role, line.config)
    check_index(role, line.index)
    bypass_proxies(run.replay_address, run.learner_address)
    incarnation = line.incarnation
    if incarnation is None:
        is_launched = LAUNCHER_PID_VARIABLE in os.environ
        incarnation = 0 if is_launched else count_start(run.directory, f"{role}-{line.index}")
    return RoleArguments(run=run, index=line.index, incarnation=incarnation)


def parse_worker_line(module: str, description: str | None) -> WorkerLine:
    """Parse ``sys.argv``; a bad one ends the process with one line."""
    line: WorkerLine = parse_options(
        WorkerLine, sys.argv[1:], prog=f"python -m {module}", description=description
    )
    if bool(line.join) == (line.config is not None):
        refuse_options(module, "got both or none of --join and --config, wanted one")
    problem = port_problem(line.join) if line.join else ""
    if problem is None:
        refuse_options(module, f"--join: got {line.join}, wanted host:port")
    if problem:
        refuse_options(module, f"--join: {problem}")
    if line.device and not is_device(line.device):
        refuse_options(module, f"--device: got {line.device}, wanted auto, cpu, cuda or cuda:N")
    check_index(module, line.index)
    _take_credentials(line.credentials)
    return line


def read_run(role: str, path: Path) -> RunInfo:
    """Return the run of a ``config.json``, or end the process with one line."""
    try:
        run = RunInfo.load(path)
    except ValueError as error:
        refuse_options(role, str(error))
    use_local_credentials(run.directory)
    return run


def check_index(role: str, index: int) -> None:
    """End the process with one line if no process can have this index."""
    if index < 0:
        refuse_options(role, f"--index: got {index}, wanted 0 or more")


def bypass_proxies(*addresses: str) -> None:
    """Make Reverb and gRPC bypass a configured proxy, which would not forward to ``host:port``.

    Call it before their first connection.
    """
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    hosts = [address.rpartition(":")[0] for address in addresses]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [given, *hosts]))


def _take_credentials(folder: Path | None) -> None:
    if folder is not None:
        os.environ[CREDENTIALS_VARIABLE] = str(folder)

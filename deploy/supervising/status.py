"""``launch.py status``: every process of a run, on every host, as its learner knows them.

Asks the learner once and prints a table, or JSON for other programs; of a run that has ended, what
its folder says. Starts nothing.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import grpc
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.results import EndedRun, ended_run, ladder_lines, run_at
from efficientzero.process.options import parse_options, port_problem
from efficientzero.rpc.channel import AWAY, credentials_problem, open_channel, reason_of
from efficientzero.rpc.credentials import (
    CREDENTIALS_VARIABLE,
    CredentialsError,
    use_local_credentials,
)
from efficientzero.rpc.stubs import (
    cluster_pb2,
    cluster_pb2_grpc,
    league_pb2,
    league_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
)
from efficientzero.runs.results.run_summary import SUMMARY_FILE
from efficientzero.runs.run_folder import RunInfo

_ANSWER_S = 5.0
_PLAIN_WIDTH = 160
_STATE_STYLES = {"alive": "green", "late": "yellow", "lost": "red"}


@dataclass(frozen=True, kw_only=True)
class _Options:
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ADDRESS|RUN")]
    """host:port of the learner, or the run's folder."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""
    runs_dir: Path = Path("runs")
    """Where to look for the run of an address that no longer answers."""
    credentials: Path | None = None
    """Folder with token and CA certificate. Default: EFFICIENTZERO_CREDENTIALS."""


_DESCRIPTION = """Print every process of a run: role, host, rate, what it waits for.

Of a run that has ended: how it ended. Exit codes: 0 running or finished; of a run that was stopped
or has failed its own (1 failed, 130 after Ctrl-C); 1 no answer and no summary; 2 wrong options."""


def main(arguments: Sequence[str]) -> int:
    """Print the status and return the exit code."""
    options: _Options = parse_options(
        _Options, arguments, prog="launch.py status", description=_DESCRIPTION
    )
    if options.credentials is not None:
        os.environ[CREDENTIALS_VARIABLE] = str(options.credentials)
    try:
        return _show(options)
    except (ValueError, CredentialsError) as error:
        print(f"launch.py status: error: {error}", file=sys.stderr)
        return 2


def _show(options: _Options) -> int:
    """Print what the learner or the run's folder says.

    Raises:
        ValueError: no address and no run's folder, or a folder that cannot be read.
        CredentialsError: see ``open_channel``; or the learner wants some, and none are named.
    """
    run, address = find_run(options.run)
    known = run or run_at(address, options.runs_dir)
    if known is not None:
        use_local_credentials(known.directory)
    ended = ended_run(run) if run is not None else None
    if ended is not None and ended.is_complete:
        return _show_ended(ended, options)
    try:
        status, cluster = fetch(address)
        ladder = fetch_ladder(address) if status.has_ladder else []
        problem = other_run(status, run) if run is not None else ""
    except grpc.RpcError as error:
        missing = credentials_problem(address) if _is_away(error) else ""
        if missing:
            raise CredentialsError(missing) from error
        problem = f"{_verb(error)} from {address}: {reason_of(error)}"
    if not problem:
        _show_running(status, cluster, ladder, options)
        return 0
    run = known
    ended = ended or (ended_run(run) if run is not None else None)
    if ended is not None:
        return _show_ended(ended, options)
    where = run.directory if run is not None else f"{options.runs_dir} (no run of this address)"
    print(f"launch.py status: {problem}; no {SUMMARY_FILE} in {where}", file=sys.stderr)
    return 1


def _verb(error: grpc.RpcError) -> str:
    """Return whether there was no answer or a refusal."""
    return "no answer" if _is_away(error) else "a refusal"


def _is_away(error: grpc.RpcError) -> bool:
    return isinstance(error, grpc.Call) and error.code() in AWAY


def _show_ended(ended: EndedRun, options: _Options) -> int:
    if options.json:
        print(json.dumps(ended.as_values()))
    else:
        print(*ended.lines(), sep="\n")
    return ended.exit_code


def _show_running(
    status: run_pb2.RunStatus,
    cluster: cluster_pb2.Cluster,
    ladder: list[dict[str, Any]],
    options: _Options,
) -> None:
    if options.json:
        values = as_values(status, cluster)
        print(json.dumps({**values, "ladder": ladder} if ladder else values))
        return
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    console.print(process_table(cluster))
    for line in (*summary(status, cluster), *ladder_lines(ladder)):
        console.print(Text(line), highlight=False, soft_wrap=True)


def find_run(given: str) -> tuple[RunInfo | None, str]:
    """Return the run of a folder with its learner's address, or the address alone.

    Raises:
        ValueError: neither a run's folder nor an address.
    """
    folder = Path(given)
    if folder.is_dir():
        loaded = RunInfo.load(folder / "config.json")
        return dataclasses.replace(loaded, directory=folder.resolve()), loaded.learner_address
    problem = port_problem(given)
    if problem is None:
        raise ValueError(f"got {given}, wanted host:port of a learner or a run's folder")
    if problem:
        raise ValueError(problem)
    return None, given


def other_run(status: run_pb2.RunStatus, run: RunInfo) -> str:
    """Report that another run answers at this run's old address, if that can be seen."""
    if status.run_uid and status.run_uid != run.run_uid:
        return f"another run answers at {run.learner_address} ({status.run_uid}, not {run.run_uid})"
    budget = run.config.budget
    here = (budget.env_steps, budget.total_train_steps)
    there = (status.env_steps_budget, status.train_steps_budget)
    if here == there:
        return ""
    return f"another run answers at {run.learner_address} (its budget is {there}, not {here})"


def fetch(address: str) -> tuple[run_pb2.RunStatus, cluster_pb2.Cluster]:
    """Ask the learner; raise grpc.RpcError if it does not answer."""
    with open_channel(address) as channel:
        request = run_pb2.GetStatusRequest()
        status = run_pb2_grpc.RunServiceStub(channel).GetStatus(request, timeout=_ANSWER_S)
        cluster = cluster_pb2_grpc.ClusterServiceStub(channel).GetCluster(
            cluster_pb2.GetClusterRequest(), timeout=_ANSWER_S
        )
    return status, cluster


def fetch_ladder(address: str) -> list[dict[str, Any]]:
    """Ask the learner of a run with a pool for its ladder, a dict a player; raise as ``fetch``."""
    with open_channel(address) as channel:
        ladder = league_pb2_grpc.LeagueServiceStub(channel).GetLadder(
            league_pb2.GetLadderRequest(), timeout=_ANSWER_S
        )
    names = [field.name for field in league_pb2.LadderPlayer.DESCRIPTOR.fields]
    return [{name: getattr(player, name) for name in names} for player in ladder.players]


_STATE_COLUMN = 3


def process_table(cluster: cluster_pb2.Cluster) -> Table:
    """Return one row a process."""
    table = Table(box=None, pad_edge=False)
    for name in (
        "process",
        "host",
        "pid",
        "state",
        "rate",
        "busy",
        "waits for",
        "weights",
        "heard",
    ):
        table.add_column(name, overflow="fold")
    for process in cluster.processes:
        seat = process.seat
        style = _STATE_STYLES.get(process.state, "")
        weights = process.weights_train_step
        cells = (
            f"{seat.role}-{seat.index}",
            seat.host,
            str(seat.pid or "-"),
            process.state,
            f"{process.rate:.3g} {process.rate_unit}",
            "-" if math.isnan(process.busy) else f"{100 * process.busy:.0f} %",
            process.waiting_for or "-",
            "-" if weights < 0 else f"{weights:,}",
            f"{process.heartbeat_age_s:.0f} s ago",
        )
        # As Text: what other processes say may look like rich's markup.
        row = [Text(cell) for cell in cells]
        row[_STATE_COLUMN].stylize(style)
        table.add_row(*row)
    return table


def summary(status: run_pb2.RunStatus, cluster: cluster_pb2.Cluster) -> list[str]:
    """Return where the run is and what holds it up."""
    lines = [
        f"{run_pb2.Phase.Name(status.phase).lower()}: "
        f"{status.env_steps:,}/{status.env_steps_budget:,} env_steps, "
        f"{status.train_steps:,}/{status.train_steps_budget:,} train_steps"
    ]
    if cluster.cause or status.waiting_for:
        lines.append(cluster.cause or f"learner waits for {status.waiting_for}")
    lines.extend(cluster.warnings)
    return lines


def as_values(status: run_pb2.RunStatus, cluster: cluster_pb2.Cluster) -> dict[str, Any]:
    """Return everything as JSON values."""
    return {
        "phase": run_pb2.Phase.Name(status.phase).lower(),
        "env_steps": status.env_steps,
        "env_steps_budget": status.env_steps_budget,
        "train_steps": status.train_steps,
        "train_steps_budget": status.train_steps_budget,
        "waiting_for": status.waiting_for,
        "cause": cluster.cause,
        "warnings": list(cluster.warnings),
        "processes": [_process_values(process) for process in cluster.processes],
    }


def _process_values(process: cluster_pb2.ProcessStatus) -> dict[str, Any]:
    seat = process.seat
    return {
        "role": seat.role,
        "index": seat.index,
        "incarnation": seat.incarnation,
        "host": seat.host,
        "pid": seat.pid,
        "state": process.state,
        "rate": process.rate,
        "rate_unit": process.rate_unit,
        "waiting_for": process.waiting_for,
        "busy": None if math.isnan(process.busy) else process.busy,
        "weights_train_step": process.weights_train_step,
        "heartbeat_age_s": process.heartbeat_age_s,
    }

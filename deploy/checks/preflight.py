"""What can be known to go wrong before the first process starts.

Called by ``prepare``. Each check raises ``PreflightError`` with one line: what was got, what to do.
Imports neither torch nor a role, so that the answer comes at once.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import secrets
import shutil
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import util
from pathlib import Path

from efficientzero.config import ClusterConfig, Config, TrackingConfig
from efficientzero.metrics import check_wandb_name
from efficientzero.process.disk_space import is_full
from efficientzero.process.free_ports import bind_free_port
from efficientzero.rpc.certificates import expiries
from efficientzero.rpc.credentials import CredentialsError, check_bind, credentials_folder
from efficientzero.runs.run_folder import RELAYED, check_run_id
from replay.service import PublicAddress, check_private

MIN_FREE_BYTES = 200 * 10**6
_GROUP_SUFFIX = re.compile(r"[A-Za-z0-9._=+-]*")


class PreflightError(ValueError):
    """The run cannot start; the message is one line for a person."""


def check_installation() -> None:
    """Check that what only the roles import can be imported by them."""
    missing = [name for name in ("torch", "reverb") if util.find_spec(name) is None]
    if missing:
        raise PreflightError(f"not installed: {', '.join(missing)}; run: make setup")
    try:
        importlib.import_module("mcts_cpp")
    except ImportError as error:
        raise PreflightError(f"mcts_cpp: {one_line(error)}; run: make setup") from error


def choose_ports(cluster: ClusterConfig) -> tuple[int, int]:
    """Return replay's port and the learner's: as given if they are free, for 0 a free one."""
    ports = [cluster.replay_port, cluster.learner_port]
    options = ["replay-port", "learner-port"]
    with contextlib.ExitStack() as stack:  # all are held at once, so that they differ
        # Those given go first: a free one must not take what another was given.
        for place in sorted(range(len(ports)), key=lambda place: ports[place] == 0):
            option, port = options[place], ports[place]
            held = stack.enter_context(socket.socket())
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                if port:
                    held.bind((cluster.bind_host, port))
                else:
                    bind_free_port(held, cluster.bind_host)
                held.listen(1)
            except (OSError, OverflowError) as error:
                raise PreflightError(
                    f"--cluster.{option}: got {port}, which cannot be used ({reason(error)}); "
                    "choose another, or 0 for a free one"
                ) from error
            ports[place] = held.getsockname()[1]
    return ports[0], ports[1]


def _free_port(*, other_than: Sequence[int]) -> int:
    """Return a free port of loopback."""
    with contextlib.ExitStack() as stack:
        while True:  # those refused stay held
            held = stack.enter_context(socket.socket())
            port = bind_free_port(held, "127.0.0.1")
            if port not in other_than:
                return port


def addresses(config: Config) -> tuple[str, str]:
    """Return where processes on this host reach replay, and the learner.

    A relay is for others: where replay is on this host, it is reached without.

    Raises:
        PreflightError: a port is taken, credentials are missing, or replay may not listen there.
    """
    cluster = config.cluster
    try:
        check_bind(cluster.bind_host)
        if not cluster.replay_host:  # replay is here
            check_private(cluster.bind_host, cluster.replay_networks, is_relayed=cluster.has_relay)
    except (CredentialsError, PublicAddress) as error:
        raise PreflightError(str(error)) from error
    check_certificates(credentials_folder())
    port, learner_port = choose_ports(cluster)
    here = "127.0.0.1" if cluster.bind_host == "0.0.0.0" else cluster.bind_host
    host, mark = cluster.replay_host or here, ""
    if cluster.has_relay and cluster.replay_host:
        mark = RELAYED
    elif cluster.has_relay:
        host, port = "127.0.0.1", _free_port(other_than=(port, learner_port))
    return f"{mark}{host}:{port}", f"{here}:{learner_port}"


def check_certificates(folder: Path | None) -> None:
    """Check that the certificates in a credentials folder, if there are any, have not expired."""
    now = datetime.now(UTC)
    for expiry in () if folder is None else expiries(folder):
        if expiry.is_over(now):
            raise PreflightError(expiry.note(now))


def addresses_text(cluster: ClusterConfig, replay: str, learner: str) -> str:
    """Return ``addresses`` for a person, and where others reach a relay that is on this host."""
    has_own = cluster.has_relay and not cluster.replay_host
    relay = f"{RELAYED}{cluster.bind_host}:{cluster.replay_port}"
    others = f" (from other hosts {relay})" if has_own else ""
    return f"replay {replay}{others}, learner {learner}"


def check_run_name(run_id: str) -> None:
    """Check a name given for the run folder."""
    try:
        check_run_id(run_id)
    except ValueError as error:
        raise PreflightError(f"--run-id: {error}") from error


def check_tracking(tracking: TrackingConfig, suffix_before: str = "") -> None:
    """Check what names the run in wandb; ``group_name`` checks the suffix's length.

    Args:
        tracking: as asked for.
        suffix_before: that of a run which goes on, and which keeps its group: not checked again.
    """
    try:
        check_wandb_name("entity", tracking.entity, "tracking.entity")
        check_wandb_name("project", tracking.project, "tracking.project")
    except ValueError as error:
        raise PreflightError(str(error)) from error
    suffix = tracking.group_suffix
    if suffix != suffix_before and not _GROUP_SUFFIX.fullmatch(suffix):
        raise PreflightError(
            f"tracking.group_suffix: got {suffix!r}, wanted letters, digits and . _ = + -"
        )


def check_is_folder(runs_dir: Path) -> None:
    """Check that neither ``--runs-dir`` nor what it would lie in is a file; makes nothing."""
    try:
        nearest = next((p for p in (runs_dir, *runs_dir.parents) if p.exists()), None)
        is_folder = nearest is None or nearest.is_dir()
    except OSError as error:
        raise PreflightError(f"--runs-dir: {runs_dir} cannot be read ({reason(error)})") from error
    if not is_folder:
        raise PreflightError(f"--runs-dir: got {runs_dir}, wanted a folder: {nearest} is a file")


def check_runs_dir(runs_dir: Path) -> None:
    """Check that run folders can be made there and that the disk has room."""
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        probe = runs_dir / f".write-test-{secrets.token_hex(4)}"
        probe.mkdir()
        probe.rmdir()
        free = shutil.disk_usage(runs_dir).free
    except OSError as error:
        raise PreflightError(
            f"--runs-dir: cannot write to {runs_dir} ({reason(error)}); choose another folder"
        ) from error
    if free < MIN_FREE_BYTES:
        raise PreflightError(
            f"--runs-dir: {runs_dir} has {size(free)} free, wanted at least "
            f"{size(MIN_FREE_BYTES)}; free some space or choose another folder"
        )


def size(num_bytes: int) -> str:
    """Return a number of bytes for a person."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 10**9 else f"{num_bytes / 1e6:.0f} MB"


def reason(error: Exception) -> str:
    """Return what the system said, in one line."""
    if is_full(error):
        return "the disk is full"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(error)


def one_line(error: Exception) -> str:
    """Return an error's message without line breaks."""
    return " ".join(str(error).split())

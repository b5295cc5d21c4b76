"""The replay service: Reverb's server on one address, alone on its port, until asked to stop.

Called by ``replay.__main__``. It starts from the newest snapshot in its folder; later items are
lost when it ends.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network
from pathlib import Path

from efficientzero.config import ReplayConfig
from efficientzero.process.disk_space import DiskPause
from efficientzero.process.runtime import PlainError, StopSignal
from replay.driver import BindAddress, ForeignPid, reverb_lite
from replay.service.address import check_private, listening_addresses, reached_at
from replay.snapshots import SnapshotFolder, check_format
from replay.tables import TRAINING_QUEUE, TRAJECTORIES, build_tables

log = logging.getLogger(__name__)


class PortTakenError(PlainError):
    """Another process serves on the port."""

    is_permanent = True


class OtherFormat(PlainError):
    """The newest snapshot is of another version of the program."""

    is_permanent = True


_SNAPSHOTS_KEPT = 2


def serve(
    config: ReplayConfig,
    address: str,
    stop: StopSignal,
    *,
    folder: Path,
    steps: str = TRAJECTORIES,
    networks: Sequence[IPv4Network] = (),
    in_order: bool = False,
    check_lease: Callable[[], None] = lambda: None,
    every_second: Callable[[], None] = lambda: None,
) -> None:
    """Serve on ``address`` (``host:port``, host an IPv4 address) until a stop is asked for.

    Args:
        config: sizes and priorities of the tables.
        address: the address to listen at.
        stop: ends the service.
        folder: for its snapshots; no other service uses it.
        steps: name of the steps' table.
        networks: allowed for ``address``; empty: any private network.
        in_order: steps leave in order of arrival, see ``build_tables``.
        check_lease: raises if another process owns the folder now.
        every_second: called about once a second while serving.

    Raises:
        PortTakenError: the port is in use.
        Fenced: another process owns the folder.
        OtherFormat: the snapshot to start from is of another version.
        PublicAddress: outsiders could reach the address.
        RuntimeError: the service listens at other addresses too.
    """
    host, _, port_text = address.rpartition(":")
    check_private(host, networks)
    port = int(port_text)
    reverb = reverb_lite.load()
    with _port_to_itself(port):
        # Named, so that the redirections live as long as the server.
        library = sys.modules["reverb.libpybind"].__file__ or ""
        redirections = (BindAddress(library, host), ForeignPid(library))
        check_lease()
        pause = DiskPause(stop)
        snapshots = pause.write(lambda: SnapshotFolder(folder, keep=_SNAPSHOTS_KEPT), folder)
        restored = pause.write(snapshots.prepare, folder)
        if restored:
            _check_format(snapshots.live / restored, steps)
        checkpointer = reverb.checkpointers.DefaultCheckpointer(str(snapshots.live))
        tables = build_tables(config, steps=steps, in_order=in_order)
        with _stderr_to(folder / "restore.log"):
            server = reverb.Server(tables, port=port, checkpointer=checkpointer)
        snapshots.forget_restored()
        try:
            if restored:
                _forget_queued_batches(reached_at(address))
                log.info("restored snapshot %s", restored)
            listening = listening_addresses(port)
            if listening != [host]:
                raise RuntimeError(f"port {port}: got listeners {listening}, wanted {host}")
            log.info("serving on %s", address)
            while not stop.wait(1.0):
                check_lease()
                _keep_newest(snapshots)
                every_second()
            check_lease()
            _keep_newest(snapshots)
        finally:
            server.stop()
            del redirections


def _check_format(snapshot: Path, steps: str) -> None:
    """Refuse a snapshot that Reverb would refuse less clearly, or accept silently."""
    try:
        check_format(snapshot, steps)
    except ValueError as error:
        raise OtherFormat(f"{error}; start a new run, or go on with the version it is of") from None


def _keep_newest(snapshots: SnapshotFolder) -> None:
    try:
        snapshots.keep_newest()
    except OSError as error:  # the newest one is complete where Reverb wrote it
        log.warning("no second copy of the newest snapshot: %s", error)


@contextlib.contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """Redirect the output of Reverb's C++ code: one line for every hundred records it reads."""
    kept = os.dup(2)
    try:
        with path.open("wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _forget_queued_batches(address: str) -> None:
    """Empty the training queue: its batches and its quota belong to processes that are gone."""
    reverb_lite.load().Client(address).reset(TRAINING_QUEUE)


@contextlib.contextmanager
def _port_to_itself(port: int) -> Iterator[None]:
    """Lock ``port`` against other replay services, and refuse a port that is in use.

    gRPC sets SO_REUSEPORT: a second server would start without complaint and get half of the
    clients. The name in Linux's abstract socket namespace is a lock that ends with the process.
    """
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(f"\0efficientzero-replay-{port}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortTakenError(f"port {port}: another replay service runs there") from error
        if listening_addresses(port):
            raise PortTakenError(f"port {port}: another process listens there")
        yield

"""The learner's one listening port: weights and run service together.

Started and stopped by ``learner.__main__``.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor  # noqa: TID251  gRPC logs what calls raise
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from efficientzero.rpc.credentials import (
    check_bind,
    credentials_folder,
    has_tls,
    read_read_token,
    read_token,
    server_credentials,
)
from efficientzero.rpc.stubs import cluster_pb2_grpc, league_pb2_grpc, run_pb2_grpc
from learner.pacing import Governor
from learner.records import RunRecord
from learner.services.claims import Claims
from learner.services.cluster_service import ClusterServicer
from learner.services.gate import Gate
from learner.services.held_calls import HeldCalls
from learner.services.league_service import LeagueServicer
from learner.services.run_service import RunServicer
from learner.services.weight_service import weight_service
from learner.weights import League, WeightPublisher

_MAX_THREADS = 1_024
"""Threads are made when a call finds none idle, and a waiting actor holds one. So this only has to
exceed twice the number of processes that will ever call."""
_MOST_HELD, _MOST_HELD_OF_A_HOST = _MAX_THREADS - 64, _MAX_THREADS // 2
"""Calls. The further threads are for calls that are refused or that end another one."""
_HANDSHAKE_MS, _KEEPALIVE_MS, _IDLE_MS = 10_000, 30_000, 600_000
_MOST_CALLS_PER_CONNECTION = 64
"""A process has one connection for each of its clients, with one or two calls at a time."""
_STOP_GRACE_S = 2.0
_MAX_RECEIVE_BYTES = 1 << 20

log = logging.getLogger(__name__)


class GrpcServer:
    """Weights and run service at one address, from construction on. Use as a context manager."""

    def __init__(
        self,
        address: str,
        *,
        governor: Governor,
        publisher: WeightPublisher,
        record: RunRecord,
        cluster: ClusterServicer | None = None,
        claims: Claims | None = None,
        league: League | None = None,
        run_uid: str = "",
    ) -> None:
        """Listen at ``host:port`` (port 0: a free one) and serve at once.

        Args:
            address: to listen at.
            governor: grants env_steps.
            publisher: holds the weights.
            record: takes results.
            cluster: gives places to workers; None: no worker can join.
            claims: checks workers' reports; None: reports are not checked.
            league: draws opponents; None: the run has no pool, and no service for one.
            run_uid: of the run.

        Raises:
            OSError: the address cannot be used.
            CredentialsError: others could reach the address, and there are no credentials.
        """
        check_bind(address.rpartition(":")[0])
        folder = credentials_folder()
        self._closing = threading.Event()
        servicer = RunServicer(
            governor,
            record,
            publisher,
            is_closing=self._closing.is_set,
            cause=(lambda: "") if cluster is None else cluster.cause,
            claims=claims,
            has_ladder=league is not None,
            run_uid=run_uid,
        )
        self._server = grpc.server(
            ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="grpc"),
            interceptors=[_gate(folder)],
            options=(
                ("grpc.so_reuseport", 0),  # or two learners would share a port unnoticed
                ("grpc.max_receive_message_length", _MAX_RECEIVE_BYTES),
                # Limits for clients without a token, which is sent only with the first call:
                # silent connections, hosts that are gone, endless calls on one connection.
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
                ("grpc.max_concurrent_streams", _MOST_CALLS_PER_CONNECTION),
                ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS),
                ("grpc.max_connection_idle_ms", _IDLE_MS),
            ),
        )
        self._server.add_generic_rpc_handlers((weight_service(publisher),))
        run_pb2_grpc.add_RunServiceServicer_to_server(servicer, self._server)
        if cluster is not None:
            cluster_pb2_grpc.add_ClusterServiceServicer_to_server(cluster, self._server)
        if league is not None:
            matches = LeagueServicer(
                league, publisher, is_closing=self._closing.is_set, claims=claims
            )
            league_pb2_grpc.add_LeagueServiceServicer_to_server(matches, self._server)
        try:
            if folder is None or not has_tls(folder):
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, server_credentials(folder))
        except RuntimeError as error:
            raise OSError(f"cannot listen at {address}: is the port taken? ({error})") from error
        self.address = f"{address.rpartition(':')[0]}:{port}"
        """The address it listens at, with the actual port."""
        self._server.start()
        log.info("serving at %s%s", self.address, _description(folder))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop serving."""
        self.close()

    def close(self, grace_s: float = _STOP_GRACE_S) -> None:
        """Accept no more calls and give those in flight ``grace_s`` seconds."""
        self._closing.set()
        self._server.stop(grace_s).wait(grace_s + 1.0)
        log.info("stopped serving at %s", self.address)


def _gate(folder: Path | None) -> Gate:
    held = HeldCalls(most=_MOST_HELD, most_of_a_host=_MOST_HELD_OF_A_HOST)
    if folder is None:
        return Gate(None, held=held)
    return Gate(read_token(folder), read_read_token(folder), held=held)


def _description(folder: Path | None) -> str:
    if folder is None:
        return " for every user of this machine"
    return " with TLS and a token" if has_tls(folder) else " with a token"

"""How every client of the learner connects, and which errors mean that it is only away.

Called by the clients in this package; independent of the messages.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from efficientzero.rpc.credentials import (
    CREDENTIALS_VARIABLE,
    CredentialsError,
    channel_credentials,
    client_token,
    credentials_folder,
    has_tls,
    is_loopback,
)

MAX_CHUNK_BYTES = 1 << 20
"""Most payload bytes in one weights message."""

AWAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)
"""Status codes of a learner that is down, starting, too busy, or stops while it answers; all others
are bugs.
"""

# A call whose connection breaks is sent again by gRPC; with wait_for_ready it then waits for the
# channel to connect, until the call's deadline. So the deadline is the whole retry budget.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": "efficientzero.RunService"},
                {"service": "efficientzero.LeagueService"},
            ],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2.0,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ]
}

EXPIRED, NOT_YET_VALID = "certificate has expired", "certificate is not yet valid"
"""TLS errors in the details of a call that could not connect."""
_MENDS = {
    EXPIRED: "(renew it: deploy/scripts/make_certs.sh DIR in the folder with ca.key; copy ca.pem "
    "to every host, learner.pem and learner.key to the learner's, which takes them up by itself)",
    NOT_YET_VALID: "(the clock of this host or of the one that made it is wrong)",
}

_TLS_ANSWER_S = 2.0

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),  # the learner is on loopback or in a private network
    ("grpc.use_local_subchannel_pool", 1),  # clients of one process share no backoff
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Despite its name this is not the pause between attempts but the time limit of each.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
)


def open_channel(
    address: str, *, further: Sequence[tuple[str, int]] = (), credentials: Path | None = None
) -> grpc.Channel:
    """Return a channel to ``host:port``; it connects with the first call, and again when needed.

    Uses TLS and the token if the environment names a credentials folder.

    Args:
        address: of the learner.
        further: channel options that override those here.
        credentials: folder of token and certificate; None: the one that the environment names.

    Raises:
        CredentialsError: a credentials file is missing or wrong.
    """
    options = (*_OPTIONS, *further)
    folder = credentials or credentials_folder()
    if folder is None:
        return grpc.insecure_channel(address, options=options)
    if not has_tls(folder):
        if not is_loopback(address.rpartition(":")[0]):
            raise CredentialsError(
                f"{folder}: got a token without ca.pem, which may not go to {address} in plain "
                "text; wanted both, as deploy/scripts/make_certs.sh makes them"
            )
        channel = grpc.insecure_channel(address, options=options)
        return grpc.intercept_channel(channel, _WithToken(client_token(folder)))
    tls, secure = channel_credentials(folder)
    return grpc.secure_channel(address, tls, options=(*options, *secure))


class _WithToken(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Adds a token to every call. gRPC's own call credentials require TLS."""

    def __init__(self, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:  # noqa: ANN401
        return continuation(self._with_token(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:  # noqa: ANN401
        return continuation(self._with_token(details), request)

    def _with_token(self, details: Any) -> Any:  # noqa: ANN401  a named tuple of gRPC's
        return details._replace(metadata=(*(details.metadata or ()), *self._metadata))


def reason_of(error: grpc.RpcError) -> str:
    """Return a call's failure in one line, with the remedy if it is known."""
    if not isinstance(error, grpc.Call):
        return str(error)
    text = f"{error.code().name}: {error.details()}"
    mends = [mend for sign, mend in _MENDS.items() if sign in text]
    return " ".join([text, *mends])


def credentials_problem(address: str) -> str:
    """Return what is missing if the learner at ``address`` uses TLS and this process does not.

    Empty otherwise. Call it after a call has failed: a plain-text call to a TLS server ends with
    "Socket closed", as if the learner had ended.
    """
    folder = credentials_folder()
    if folder is not None and has_tls(folder):
        return ""
    if not _speaks_tls(address):
        return ""
    got = "no credentials" if folder is None else f"{folder}, which has no ca.pem"
    return (
        f"the learner at {address} speaks TLS: got {got}, wanted --credentials DIR or "
        f"{CREDENTIALS_VARIABLE}, a folder with ca.pem and a token of this run"
    )


def _speaks_tls(address: str) -> bool:
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent to it
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, int(port)), timeout=_TLS_ANSWER_S) as connection,
            context.wrap_socket(connection),
        ):
            return True
    except (OSError, ValueError):
        return False

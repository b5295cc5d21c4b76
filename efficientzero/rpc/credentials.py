"""What keeps strangers out of a run: a shared token, and TLS by a CA of the cluster's own.

Files of one folder, named by ``EFFICIENTZERO_CREDENTIALS``; the path is no secret, the files are.
TLS proves the learner to the workers, the token the workers to the learner: workers come and go,
and one secret for all of them needs nothing signed when a host joins. Read by both ends.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

import grpc

from efficientzero.runtime import PlainError

CREDENTIALS_VARIABLE = "EFFICIENTZERO_CREDENTIALS"

_SERVER_NAME = "learner.efficientzero"
"""In the one certificate that the cluster's CA signs. Containers change their names and addresses;
whoever holds this certificate's key is the learner, wherever it runs."""

_SHORTEST_TOKEN = 16
_CA, _TOKEN, _CERTIFICATE, _KEY = "ca.pem", "token", "learner.pem", "learner.key"


class CredentialsError(PlainError):
    """Files that are missing or wrong; the message names them and never what is in them."""

    is_final = True


def credentials_folder() -> Path | None:
    """Return the folder that the environment names, or None."""
    given = os.environ.get(CREDENTIALS_VARIABLE)
    return Path(given) if given else None


def read_token(folder: Path) -> str:
    """Return the shared secret.

    Raises:
        CredentialsError: no such file, or a secret that is too short or not one line of ASCII.
    """
    token = _read(folder / _TOKEN).strip()
    if len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.decode().isprintable()):
        raise CredentialsError(
            f"{folder / _TOKEN}: wanted one line of at least {_SHORTEST_TOKEN} ASCII characters"
        )
    return token.decode()


def channel_credentials(folder: Path) -> tuple[grpc.ChannelCredentials, Sequence[tuple[str, str]]]:
    """Return what a client connects with, and the channel's options that belong to it.

    Raises:
        CredentialsError: a file is missing or wrong.
    """
    tls = grpc.ssl_channel_credentials(root_certificates=_read(folder / _CA))
    token = grpc.access_token_call_credentials(read_token(folder))
    options = (("grpc.ssl_target_name_override", _SERVER_NAME),)
    return grpc.composite_channel_credentials(tls, token), options


def server_credentials(folder: Path) -> grpc.ServerCredentials:
    """Return what the learner serves with.

    Raises:
        CredentialsError: a file is missing.
    """
    pair = (_read(folder / _KEY), _read(folder / _CERTIFICATE))
    return grpc.ssl_server_credentials([pair])


def check_bind(host: str) -> None:
    """Check that serving at ``host`` is safe: on loopback, or with credentials.

    Raises:
        CredentialsError: it is not, or the credentials are incomplete.
    """
    folder = credentials_folder()
    if folder is not None:
        read_token(folder)
        server_credentials(folder)
        _read(folder / _CA)
    elif not is_loopback(host):
        raise CredentialsError(
            f"cluster.bind_host: got {host}, which others can reach, and no credentials; wanted "
            f"--credentials DIR or {CREDENTIALS_VARIABLE}=DIR (deploy/scripts/make_certs.sh DIR)"
        )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach ``host``, as far as the name alone tells."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"{path}: {error.strerror}; wanted a credentials file") from error

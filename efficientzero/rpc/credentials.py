"""Access control of a run: a shared token, and TLS with the cluster's own CA.

The files are in one folder, named by ``EFFICIENTZERO_CREDENTIALS``; the path is no secret, the
files are. TLS authenticates the learner to the workers, the token the workers to the learner:
workers come and go, and with one secret for all of them nothing is signed when a host joins. Read
by both ends.

A folder with only tokens belongs to a run on loopback. The launcher makes it at every start, to
keep other users of the machine out. Nobody can listen to loopback, so TLS would add nothing.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import ssl
import stat
from collections.abc import Sequence
from pathlib import Path

import grpc

from efficientzero.process.runtime import PlainError

CREDENTIALS_VARIABLE = "EFFICIENTZERO_CREDENTIALS"

SERVER_NAME = "learner.efficientzero"
"""Name in the one certificate that the cluster's CA signs. Containers change names and addresses,
so the holder of this certificate's key is the learner, on any host."""

_SHORTEST_TOKEN = 16
CA, CERTIFICATE, TOKEN, _KEY = "ca.pem", "learner.pem", "token", "learner.key"
READ_TOKEN = "read_token"

LOCAL_FOLDER = "credentials"
"""In a run folder: the tokens that the launcher made for a run on loopback."""


log = logging.getLogger(__name__)


class CredentialsError(PlainError):
    """Files that are missing or wrong; the message names them but never their contents."""

    is_permanent = True


def credentials_folder() -> Path | None:
    """Return the folder that the environment names, or None."""
    given = os.environ.get(CREDENTIALS_VARIABLE)
    return Path(given) if given else None


def credentials_of(run_folder: Path) -> Path:
    """Return the folder that the environment names, else the one for the run's own tokens."""
    return credentials_folder() or run_folder / LOCAL_FOLDER


def read_token(folder: Path) -> str:
    """Return the shared secret.

    Raises:
        CredentialsError: no such file, or a secret that is too short or not one line of ASCII.
    """
    return read_secret(folder / TOKEN)


def read_read_token(folder: Path) -> str | None:
    """Return the secret that allows only reading; None if the folder has none.

    Raises:
        CredentialsError: as ``read_token``.
    """
    return read_secret(folder / READ_TOKEN) if (folder / READ_TOKEN).exists() else None


def client_token(folder: Path) -> str:
    """Return the secret to send to the learner: the workers' token, else the reading token.

    Raises:
        CredentialsError: as ``read_token``.
    """
    if not (folder / TOKEN).exists() and (found := read_read_token(folder)) is not None:
        return found
    return read_token(folder)


def has_tls(folder: Path) -> bool:
    """Return whether a folder is for several machines; else it has only tokens for loopback."""
    return any((folder / name).exists() for name in (CA, CERTIFICATE, _KEY))


def use_local_credentials(run_folder: Path) -> None:
    """Use a run's tokens in this process and its children, unless the environment names others."""
    folder = run_folder / LOCAL_FOLDER
    if credentials_folder() is None and folder.is_dir():
        os.environ[CREDENTIALS_VARIABLE] = str(folder)


def channel_credentials(folder: Path) -> tuple[grpc.ChannelCredentials, Sequence[tuple[str, str]]]:
    """Return a client's credentials, and the channel options that belong to them.

    Raises:
        CredentialsError: a file is missing or wrong.
    """
    tls = grpc.ssl_channel_credentials(root_certificates=_read(folder / CA))
    token = grpc.access_token_call_credentials(client_token(folder))
    options = (("grpc.ssl_target_name_override", SERVER_NAME),)
    return grpc.composite_channel_credentials(tls, token), options


def server_credentials(folder: Path) -> grpc.ServerCredentials:
    """Return the learner's server credentials; renewed certificates are picked up.

    Raises:
        CredentialsError: a file is missing, or they do not belong together.
    """
    begin, known = _read_pair(folder), _seen(folder)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """Return the pair if it was replaced, else None; called for every connection."""
        nonlocal known
        seen = _seen(folder)
        if seen == known or seen is None:
            return None
        try:
            pair = _read_pair(folder)
        except CredentialsError as error:
            log.warning("the certificate in use stays: %s", error)
            return None
        finally:
            known = seen
        log.info("%s: renewed, in use from now on", folder / CERTIFICATE)
        return grpc.ssl_server_certificate_configuration([pair])

    return grpc.dynamic_ssl_server_credentials(
        grpc.ssl_server_certificate_configuration([begin]),
        renewed,  # type: ignore[arg-type]
    )


def _read_pair(folder: Path) -> tuple[bytes, bytes]:
    """Return the learner's key and its certificate, which belong together.

    Raises:
        CredentialsError: a file is missing, others can read the key, or they do not fit.
    """
    pair = (_read_private(folder / _KEY), _read(folder / CERTIFICATE))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            folder / CERTIFICATE, folder / _KEY, password=""
        )
    except (OSError, ValueError) as error:
        raise CredentialsError(
            f"{folder / CERTIFICATE}: wanted the certificate of {folder / _KEY} ({error})"
        ) from error
    return pair


def _seen(folder: Path) -> tuple[int, ...] | None:
    """Return a stamp of the learner's key and certificate files; None: one is missing."""
    try:
        stats = [(folder / name).stat() for name in (CERTIFICATE, _KEY)]
    except OSError:
        return None
    return tuple(value for s in stats for value in (s.st_mtime_ns, s.st_ino, s.st_size))


def client_tls(folder: Path) -> ssl.SSLContext:
    """Return a client's TLS context for a server named ``SERVER_NAME``.

    Raises:
        CredentialsError: a file is missing or wrong.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=_read(folder / CA).decode())
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise CredentialsError(f"{folder / CA}: wanted a CA's certificate: {error}") from None
    return context


def server_tls(folder: Path) -> ssl.SSLContext:
    """Return the TLS context of replay's relay, which uses the learner's certificate.

    Raises:
        CredentialsError: a file is missing or wrong.
    """
    _read_private(folder / _KEY)
    _read(folder / CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(folder / CERTIFICATE, folder / _KEY)
    except ssl.SSLError as error:
        raise CredentialsError(
            f"{folder}: {CERTIFICATE} and {_KEY} do not belong together: {error}"
        ) from None
    return context


def check_bind(host: str) -> None:
    """Check that serving at ``host`` is safe: on loopback, or with credentials.

    Raises:
        CredentialsError: it is not, or the credentials are incomplete.
    """
    folder = credentials_folder()
    if folder is not None:
        read_token(folder)
        read_read_token(folder)
    if folder is not None and has_tls(folder):
        server_credentials(folder)
        _read(folder / CA)
    elif not is_loopback(host):
        found = "no credentials" if folder is None else f"no certificate in {folder}"
        raise CredentialsError(
            f"cluster.bind_host: got {host}, which others can reach, and {found}; wanted "
            f"--credentials DIR or {CREDENTIALS_VARIABLE}=DIR (deploy/scripts/make_certs.sh DIR)"
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``, judged by the name alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_secret(path: Path) -> str:
    """Return the one line of a file that others cannot read.

    Raises:
        CredentialsError: no such file, others can read it, or it is too short or not ASCII.
    """
    token = _read_private(path).strip()
    if len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.decode().isprintable()):
        raise CredentialsError(
            f"{path}: wanted one line of at least {_SHORTEST_TOKEN} ASCII characters"
        )
    return token.decode()


def _read_private(path: Path) -> bytes:
    """Read a file that others must not read. A group may: container secrets have one."""
    content = _read(path)
    if not is_private(path):
        mode = stat.S_IMODE(path.stat().st_mode)
        raise CredentialsError(
            f"{path}: every user of this machine can read it (mode {mode:o}); run: chmod 600 {path}"
        )
    return content


def is_private(path: Path) -> bool:
    """Return whether a file's mode keeps other users out; a group may read it."""
    return not path.stat().st_mode & stat.S_IROTH


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"{path}: {error.strerror}; wanted a credentials file") from error

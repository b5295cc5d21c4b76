"""The tokens of a run that is on loopback alone, where nobody named credentials.

Called by ``launch.py`` around a run and by the planning of one that is only prepared.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.checks import PreflightError, reason
from efficientzero.rpc.credentials import (
    CREDENTIALS_VARIABLE,
    LOCAL_FOLDER,
    READ_TOKEN,
    TOKEN,
    CredentialsError,
    credentials_folder,
    is_loopback,
    is_private,
    read_secret,
)
from efficientzero.runs.run_folder import RunInfo


@contextmanager
def local_credentials(run: RunInfo) -> Iterator[None]:
    """Use new tokens of this run alone, on loopback and where no credentials are named."""
    if is_secured(run):
        yield
        return
    os.environ[CREDENTIALS_VARIABLE] = str(write_tokens(run))
    try:
        yield
    finally:
        del os.environ[CREDENTIALS_VARIABLE]


def write_tokens(run: RunInfo) -> Path:
    """Return the folder of the run's tokens, written where they are missing.

    Raises:
        PreflightError: they cannot be written.
    """
    try:
        return make_local_credentials(run.directory)
    except OSError as error:
        where = error.filename or run.directory
        raise PreflightError(f"{where}: cannot write the run's tokens ({reason(error)})") from error


def is_secured(run: RunInfo) -> bool:
    """Return whether credentials are named, or must be: beyond loopback."""
    return credentials_folder() is not None or not is_loopback(run.config.cluster.bind_host)


def make_local_credentials(run_folder: Path) -> Path:
    """Write tokens for a run on loopback, readable by this user alone; return their folder.

    Existing tokens stay, so that workers that joined can go on when the run starts again. If the
    file system has no file modes, the folder is a temporary one that only this launch knows.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = run_folder / LOCAL_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    _write_tokens(folder)
    if all(is_private(folder / name) for name in (TOKEN, READ_TOKEN)):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="efficientzero-"))
    _write_tokens(folder)
    return folder


def forget_local_credentials(run_folder: Path) -> None:
    """Make a folder that is another run now create new tokens, unless the environment names these.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder, named = run_folder / LOCAL_FOLDER, credentials_folder()
    if named is None or named.resolve() != folder.resolve():
        for name in (TOKEN, READ_TOKEN):
            (folder / name).unlink(missing_ok=True)


def _write_tokens(folder: Path) -> None:
    for name in (TOKEN, READ_TOKEN):
        path = folder / name
        with suppress(CredentialsError):  # none, or one that others can read
            read_secret(path)
            continue
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_hex(32)}\n")

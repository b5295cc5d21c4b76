"""The tokens of a run that is on loopback alone, where nobody named credentials.

Called by ``launch.py`` around a run and by the planning of one that is only prepared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.checks import PreflightError, reason
from efficientzero.rpc.credentials import (
    CREDENTIALS_VARIABLE,
    credentials_folder,
    is_loopback,
    make_local_credentials,
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

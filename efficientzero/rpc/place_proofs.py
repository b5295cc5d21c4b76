"""Proof that a place in a run belongs to a process: a digest keyed by a secret in the run folder.

A process with the run folder (the launcher's workers, and one started by hand with ``--config``)
makes the proof itself; a process that joins gets it from the learner with the place. So the
workers' token alone cannot take an occupied place, even if the learner has just restarted and knows
no worker yet. The secret outlives the learner, and no process sends it to another.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

from efficientzero.process.disk_space import is_full
from efficientzero.process.runtime import PlainError

SECRET_FILE = "place_secret"
"""In the run folder, readable only by its owner."""

_SECRET_BYTES = 32
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_WRITING_S = 5.0
"""Seconds to wait for another process that writes the file; after them it counts as torn."""
_LOOK_S = 0.05
_TRIES = 3
"""Between looking for the file and making it another process may have made and removed it."""


class PlaceSecretError(PlainError):
    """The run folder's secret cannot be read or made; the message says why."""

    is_permanent = True


class PlaceProofs:
    """Makes and checks proofs for the places of one run. Safe to use from any thread."""

    def __init__(self, run_folder: Path, run_uid: str) -> None:
        """Read the run's secret, or make it.

        Args:
            run_folder: of the run.
            run_uid: of the run; a copy of the folder is another one.

        Raises:
            OSError: the disk is full; nothing is left behind, and a later try may succeed.
            PlaceSecretError: this process can neither read nor make it.
        """
        path = run_folder / SECRET_FILE
        try:
            self._secret = _read_or_make(path)
        except OSError as error:
            if is_full(error):
                raise
            raise PlaceSecretError(
                f"{path}: {error.strerror}; wanted the secret of the run's places, or --join "
                "instead of --config on a host without the run folder"
            ) from error
        self._run_uid = run_uid

    def proof(self, role: str, index: int, incarnation: int, member: int) -> bytes:
        """Return the proof, 32 bytes, that a process with the random number ``member`` shows."""
        place = f"{self._run_uid} {role} {index} {incarnation} {member}"
        return hmac.new(self._secret, place.encode(), hashlib.sha256).digest()

    def fits(self, proof: bytes, role: str, index: int, incarnation: int, member: int) -> bool:
        """Return whether a proof is the one for this process and place."""
        return hmac.compare_digest(proof, self.proof(role, index, incarnation, member))


def forget_secret(run_folder: Path) -> None:
    """Make a folder that is another run now create a new secret.

    Raises:
        OSError: the folder cannot be written to.
    """
    (run_folder / SECRET_FILE).unlink(missing_ok=True)


def _read_or_make(path: Path) -> bytes:
    for _ in range(_TRIES):
        secret = _read(path) or _make(path)
        if secret is not None:
            return secret
    raise FileExistsError(errno.EEXIST, "is made and removed by another process", str(path))


def _read(path: Path) -> bytes | None:
    """Return the secret; None if there is none, or a partial one that no process completes."""
    deadline = time.monotonic() + _WRITING_S
    while True:
        try:
            text = path.read_text("ascii")
            secret = bytes.fromhex(text)
            if len(secret) == _SECRET_BYTES and text.endswith("\n"):
                return secret
        except FileNotFoundError:
            return None
        except ValueError:
            pass
        if time.monotonic() >= deadline:
            path.unlink(missing_ok=True)
            return None
        time.sleep(_LOOK_S)


def _make(path: Path) -> bytes | None:
    """Write a new secret; return None if another process of the run was faster.

    The file appears under its name only when it is complete and on the disk, because other
    processes may read and use it at once.
    """
    secret = secrets.token_bytes(_SECRET_BYTES)
    line = f"{secret.hex()}\n".encode("ascii")
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(unfinished, _NEW_FILE, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(unfinished, path)
        except FileExistsError:
            return None
        except OSError as error:
            if is_full(error):
                raise
            return secret if _write_in_place(path, line) else None
    finally:
        unfinished.unlink(missing_ok=True)
    return secret


def _write_in_place(path: Path, line: bytes) -> bool:
    """Write the file on a file system without hard links; return False if it exists.

    Readers wait while the secret is incomplete. There is no fsync: its failure would come after
    others have read the whole.
    """
    try:
        descriptor = os.open(path, _NEW_FILE, 0o600)
    except FileExistsError:
        return False
    try:
        written = os.write(descriptor, line)
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return True

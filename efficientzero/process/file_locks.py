"""Locks on files, and file systems that have none.

``flock`` is missing on some network and user-space file systems. There it fails with an error that
must not be mistaken for a lock held by another process.
"""

from __future__ import annotations

import errno
import fcntl
import tempfile
from pathlib import Path

_NOT_SUPPORTED = frozenset(
    (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF)
)
"""Errors of file systems without locks. EBADF: NFS, if a file is not open for writing."""


class LockHeld(Exception):
    """Another process holds the lock."""


def lock_file(descriptor: int) -> bool:
    """Lock an open file for this process, without waiting; it is released when the file is closed.

    Returns:
        False if the file system has no locks.

    Raises:
        LockHeld: another process has locked it.
        OSError: the system refuses for another reason.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockHeld from error
    except OSError as error:
        if error.errno in _NOT_SUPPORTED:
            return False
        raise
    return True


def has_locks(folder: Path) -> bool:
    """Return whether files in ``folder`` can be locked.

    Raises:
        OSError: no file can be made there.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        return lock_file(file.fileno())

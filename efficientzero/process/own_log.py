"""A process's own log in the run folder, for processes whose output no launcher stores."""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

from efficientzero.process.runtime import LAUNCHER_PID_VARIABLE

_MOST_BYTES = 10_000_000
"""At this size the file is renamed and a new one begun; only the previous one is kept."""

log = logging.getLogger(__name__)


def keep_log(directory: Path, role: str, index: int) -> None:
    """Also append the log to ``logs/<role>-<index>.log``; does nothing under a launcher.

    If the folder cannot be written, a warning is logged and the work goes on.
    """
    if LAUNCHER_PID_VARIABLE in os.environ:
        return
    path = directory / "logs" / f"{role}-{index}.log"
    root = logging.getLogger()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            path, maxBytes=_MOST_BYTES, backupCount=1, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        log.warning("no log is kept in the run folder: %s", error)
        return
    if root.handlers:
        handler.setFormatter(root.handlers[0].formatter)
    root.addHandler(handler)

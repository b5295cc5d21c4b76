"""Numbers of starts of a run's processes without a launcher: one small file for each process."""

from __future__ import annotations

import os
from pathlib import Path


def count_start(directory: Path, name: str) -> int:
    """Return the number of earlier starts of ``name`` in the run folder, and count this one.

    Two processes must not call it for one name at the same time.

    Raises:
        OSError: the folder cannot be written.
    """
    path = directory / "starts" / name
    path.parent.mkdir(exist_ok=True)
    try:
        known = int(path.read_text())
    except FileNotFoundError:
        known = 0
    temporary = path.with_name(f".{name}")
    with temporary.open("w") as file:
        file.write(f"{known + 1}\n")
        file.flush()
        os.fsync(file.fileno())  # or a power cut would give one process's seeds to another
    temporary.replace(path)
    return known

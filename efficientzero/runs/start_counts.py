"""How often the processes of a run were started, where no launcher counts: one small file each."""

from __future__ import annotations

import os
from pathlib import Path


def count_start(directory: Path, name: str) -> int:
    """Return how many starts of ``name`` the run folder knows, and note one more.

    Not for two callers of one name at a time.

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

"""The wall clocks of a run's processes, set from outside while it runs: ``wall_clock.cc``."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("wall_clock.cc")
# Without guards: a function that a guard itself calls is one of those replaced.
_FLAGS = ("-std=c++20", "-O2", "-shared", "-fPIC", "-fno-threadsafe-statics")
_MODULES = {
    "launcher": "launcher",
    "replay": "replay",
    "learner": "learner",
    "reanalyzer": "reanalyzer",
    "actor": "actor",
    "evaluator": "actor.evaluator",
}
_SHIFT = struct.Struct("<q")
_NANOSECONDS = 10**9


class WallClocks:
    """One clock for all processes of a role."""

    def __init__(self, folder: Path) -> None:
        """Compile the library into ``folder``, a new one, and set all clocks right.

        Raises:
            OSError: there is no C++ compiler.
            subprocess.CalledProcessError: it failed.
        """
        folder.mkdir()
        self._seconds = dict.fromkeys(_MODULES, 0.0)
        self._folder, self._library = folder, folder / "wall_clock.so"
        for module in _MODULES.values():
            (folder / module).write_bytes(bytes(_SHIFT.size))
        compiler = os.environ.get("CXX", "c++")
        command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(self._library), "-ldl"]
        subprocess.run(command, check=True, capture_output=True, text=True)

    @property
    def environment(self) -> dict[str, str]:
        """Of the launcher; its processes inherit it."""
        return {"LD_PRELOAD": str(self._library), "WALL_CLOCK_FOLDER": str(self._folder)}

    def set_right(self) -> None:
        """Let all clocks show the true time."""
        for role, seconds in self._seconds.items():
            self.jump(-seconds, role)

    def jump(self, seconds: float, *roles: str) -> None:
        """Set the clocks of ``roles``, of all if none is named, so much forwards."""
        for role in roles or tuple(_MODULES):
            self._seconds[role] += seconds
            path = self._folder / _MODULES[role]
            # In place, and in one store: processes have the file mapped.
            with path.open("r+b") as file, mmap.mmap(file.fileno(), _SHIFT.size) as place:
                place[:] = _SHIFT.pack(round(self._seconds[role] * _NANOSECONDS))

"""Which process is stuck: ``python -m deploy.health``, the health check of every container.

Exit code 0 if each of this container's processes works or waits as it should, 1 if one has shown
no sign of life for too long or none has started yet. A wait for the learner or for replay is no
illness: starting such a process again would not help. Imports neither torch nor Reverb.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from efficientzero.process.liveness import LIVENESS_DIRECTORY_VARIABLE, LifeSign, read_life_signs

STUCK_AFTER_VARIABLE = "EFFICIENTZERO_STUCK_AFTER"
_STUCK_AFTER_S = 300.0
"""Longer than any section of any preset: a train_step of atari100k takes 40 s on a CPU."""


def main(arguments: Sequence[str]) -> int:
    """Print one line per process and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.health", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--stuck-after",
        type=float,
        metavar="SECONDS",
        default=float(os.environ.get(STUCK_AFTER_VARIABLE, _STUCK_AFTER_S)),
        help=f"without a sign of life (default: ${STUCK_AFTER_VARIABLE}, else {_STUCK_AFTER_S:g})",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=os.environ.get(LIVENESS_DIRECTORY_VARIABLE),
        help=f"of the signs of life (default: ${LIVENESS_DIRECTORY_VARIABLE})",
    )
    parsed = parser.parse_args(arguments)
    if parsed.folder is None:
        parser.error(f"--folder: got none and {LIVENESS_DIRECTORY_VARIABLE} is not set")
    signs = [sign for sign in read_life_signs(parsed.folder) if _is_running(sign.pid)]
    if not signs:
        print("unhealthy: no process has shown a sign of life yet")
        return 1
    now_s = time.monotonic()
    verdicts = [verdict(sign, now_s=now_s, stuck_after_s=parsed.stuck_after) for sign in signs]
    print("\n".join(text for _, text in verdicts))
    return int(not all(is_well for is_well, _ in verdicts))


def verdict(sign: LifeSign, *, now_s: float, stuck_after_s: float) -> tuple[bool, str]:
    """Return whether a process is well, and that in words; ``now_s`` is a monotonic time."""
    age_s = now_s - sign.monotonic_s
    is_well = age_s <= stuck_after_s
    word = "healthy" if is_well else "stuck"
    return is_well, f"{word}: {sign.name} was at {sign.doing!r} {age_s:.0f} s ago"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

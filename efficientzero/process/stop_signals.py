"""Which signals ask a process to stop. Imports nothing: the launcher needs it before all else."""

from __future__ import annotations

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return SIGINT, SIGTERM, and SIGHUP unless the process was started with SIGHUP ignored.

    ``nohup`` and a shell's ``disown`` ignore it to keep the process when their terminal closes.
    SIGINT is always included: shells ignore it for every command that they start in the background.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP

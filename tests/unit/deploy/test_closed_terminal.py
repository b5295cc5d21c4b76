"""Exit codes are the launcher's own, whatever became of the terminal it writes to."""

import os
import pty
import subprocess
import sys

import pytest

CODE = """
import sys, time
from deploy.interrupt import flush_or_drop
sys.stdin.readline()
try:
    sys.stdout.write("part of a line, which is not written yet")
    sys.exit(129)
finally:
    {last}
"""


@pytest.mark.parametrize(("last", "code"), [("flush_or_drop()", 129), ("pass", 120)])
def test_a_closed_terminal_does_not_change_the_exit_code(last, code):
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE.format(last=last)],
        env={name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdin=subprocess.PIPE,
        stdout=terminal,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(terminal)
    os.close(controller)
    process.communicate(b"\n", timeout=180.0)
    assert process.returncode == code

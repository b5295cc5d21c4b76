"""Ctrl-C while a command has not begun: one line, a documented exit code, nothing left running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[3] / "launch.py"
SLOW = """
import os, time
import gymnasium as gym
from pathlib import Path

class Slow(gym.Env):
    def __init__(self):
        Path(os.environ["SIGN"]).write_text(str(os.getpid()))
        time.sleep(600)

gym.register(id="Slow-v0", entry_point=Slow)
"""
PATIENCE_S = 180.0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_environment_is_tried_ends_both_in_one_line(tmp_path, signum):
    (tmp_path / "slow_env.py").write_text(SLOW)
    sign = tmp_path / "pid"
    process = subprocess.Popen(
        [sys.executable, LAUNCH, "--local", "--env", "slow_env:Slow-v0", "--preset", "cartpole"],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "SIGN": str(sign)},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + PATIENCE_S
    while not (sign.exists() and sign.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    assert sign.exists() and sign.read_text(), process.poll()
    process.send_signal(signum)
    _, printed = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signum
    assert printed == f"launch.py: interrupted by {signum.name}\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(sign.read_text()), 0)

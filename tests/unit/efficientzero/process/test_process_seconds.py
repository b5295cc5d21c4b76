"""CPU-seconds of other processes, as the system has them."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from efficientzero.process import process_seconds
from efficientzero.process.process_seconds import (
    WANDB_SECONDS,
    ProcessSeconds,
    ProcessState,
    descendants,
    read_process,
)

PATIENCE_S = 60.0
BUSY = """
import sys, time
while time.process_time() < 0.3:
    pass
print("spent", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def busy():
    """Return a process that has spent 0.3 s and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "spent\n"
    yield process
    process.communicate("\n", timeout=PATIENCE_S)


def test_what_another_process_spends_is_read_and_kept_when_it_ends(busy):
    seconds = ProcessSeconds(lambda: filter(None, [read_process(busy.pid)]))
    spent = seconds.read()
    assert 0.25 <= spent <= time.monotonic()
    busy.kill()
    busy.wait(PATIENCE_S)
    assert read_process(busy.pid) is None
    assert seconds.read() >= spent


def test_descendants_are_found_whatever_their_names(busy, tmp_path):
    assert busy.pid in [state.pid for state in descendants(os.getpid())]
    odd = tmp_path / "a) b (c"
    shutil.copy(shutil.which("sleep"), odd)
    with subprocess.Popen([odd, "600"]) as process:
        try:
            state = read_process(process.pid)
            assert state.name == "a) b (c"
            assert state.parent == os.getpid()
        finally:
            process.kill()


def test_a_process_that_took_over_a_pid_is_another_one(monkeypatch):
    now, clock = [ProcessState(7, 1, "a", born=100, spent_s=5.0)], [0.0]
    monkeypatch.setattr(process_seconds, "read_process", lambda pid: now[0])
    seconds = ProcessSeconds(lambda: now, clock=lambda: clock[0])
    assert seconds.read() == 5.0
    now[0] = now[0]._replace(born=200, spent_s=1.0)
    assert seconds.read() == 5.0
    clock[0] = 30.0
    assert seconds.read() == 6.0


def test_only_wandbs_own_processes_are_wandbs(busy, tmp_path):
    shutil.copy(sys.executable, tmp_path / "wandb-core")
    before = WANDB_SECONDS.read()
    home = {**os.environ, "PYTHONHOME": sys.base_prefix}
    with subprocess.Popen(
        [tmp_path / "wandb-core", "-c", BUSY],
        env=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.stdout.readline() == "spent\n"
        spent = ProcessSeconds(process_seconds._wandb_processes).read()
        service.communicate("\n", timeout=PATIENCE_S)
    assert before == 0.0
    assert 0.25 <= spent < 10.0

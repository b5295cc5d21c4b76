"""The health check: what a beating, a waiting, a hanging and a dead process look like to it."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deploy import health
from efficientzero.metrics import SectionTimer
from efficientzero.process import liveness
from efficientzero.process.liveness import (
    LIVENESS_DIRECTORY_VARIABLE,
    LifeSign,
    beat,
    read_life_signs,
    start_liveness,
)
from efficientzero.process.runtime import WaitReason


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(LIVENESS_DIRECTORY_VARIABLE, str(tmp_path / "life"))
    monkeypatch.setattr(liveness, "_writer", [])
    monkeypatch.setattr(liveness, "_INTERVAL_S", 0.0)
    # A clock that stands still: ages in the output do not depend on the machine.
    monkeypatch.setattr("time.monotonic", lambda: 5_000.0)
    return tmp_path / "life"


def write(folder, name, *, pid, age_s, doing="search"):
    folder.mkdir(exist_ok=True)
    record = LifeSign(name, pid, time.monotonic() - age_s, doing)
    (folder / f"{name}-{pid}").write_text(json.dumps(record))


def test_process_that_beats_is_healthy_and_says_what_it_does(folder, capsys):
    start_liveness("actor", 3)
    with SectionTimer("actor").section("search"):
        pass
    assert health.main([]) == 0
    assert capsys.readouterr().out == "healthy: actor-3 was at 'search' 0 s ago\n"


def test_a_wait_that_ticks_is_healthy(folder, capsys):
    start_liveness("learner", 0)
    WaitReason("a training batch").tick()
    assert health.main([]) == 0
    assert "learner-0 was at 'a training batch'" in capsys.readouterr().out


def test_process_without_a_sign_of_life_for_too_long_is_stuck(folder, capsys):
    write(folder, "actor-0", pid=os.getpid(), age_s=301.0)
    assert health.main([]) == 1
    assert capsys.readouterr().out == "stuck: actor-0 was at 'search' 301 s ago\n"
    assert health.main(["--stuck-after", "400"]) == 0


def test_one_stuck_process_of_several_is_enough(folder):
    write(folder, "replay-0", pid=os.getpid(), age_s=1.0)
    write(folder, "learner-0", pid=os.getppid(), age_s=1000.0)
    assert health.main([]) == 1


def test_dead_predecessor_is_not_judged(folder):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    write(folder, "actor-0", pid=dead.pid, age_s=1000.0)
    assert health.main([]) == 1  # nobody else has started
    write(folder, "actor-0", pid=os.getpid(), age_s=1.0)
    assert health.main([]) == 0


def test_other_threads_cannot_speak_for_the_main_thread(folder):
    start_liveness("actor", 0)
    (before,) = read_life_signs(folder)
    other = threading.Thread(target=beat, args=("answering",))
    other.start()
    other.join()
    assert read_life_signs(folder) == [before]
    beat("search")
    assert read_life_signs(folder)[0].doing == "search"


def test_beats_are_written_at_most_once_a_second(folder, monkeypatch):
    monkeypatch.setattr(liveness, "_INTERVAL_S", 1000.0)
    start_liveness("actor", 0)
    beat("search")
    assert read_life_signs(folder)[0].doing == "starting"


def test_without_a_folder_nothing_is_written(folder, monkeypatch, capsys):
    monkeypatch.delenv(LIVENESS_DIRECTORY_VARIABLE)
    start_liveness("actor", 0)
    beat("search")
    assert not folder.exists()
    with pytest.raises(SystemExit) as ended:
        health.main([])
    assert ended.value.code == 2
    assert LIVENESS_DIRECTORY_VARIABLE in capsys.readouterr().err


def test_torn_file_is_left_out(folder):
    folder.mkdir()
    (folder / "actor-1").write_text('["actor-0", 1')
    assert read_life_signs(Path(folder)) == []


def test_the_check_imports_no_heavy_package():
    code = "import sys, deploy.health; print({'torch', 'numpy', 'grpc'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

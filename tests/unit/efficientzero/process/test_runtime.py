"""How a role's process ends, and where its randomness comes from."""

import errno
import queue
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from efficientzero.process.runtime import EXIT_FINAL, StopSignal, generator, seed_sequence

ROLE = """
{before}
import errno, sys
from efficientzero.process.runtime import PlainError, exit_now, run_role

def main(stop):
    {body}

exit_now(run_role("actor", 3, main))
"""


def run(body, *, before=""):
    return subprocess.run(
        [sys.executable, "-c", ROLE.format(body=body, before=before)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_a_wait_for_an_item_ends_with_the_item_the_timeout_or_the_stop():
    stop, items = StopSignal(), queue.Queue()
    items.put(0)
    assert stop.get(items, 0.0) == 0  # no time to wait, but there is one
    started = time.monotonic()
    assert stop.get(items, 0.0) is None
    assert stop.get(items, -1.0) is None
    assert time.monotonic() - started < 0.1
    assert stop.get(items, 0.25) is None  # longer than one turn
    assert time.monotonic() - started > 0.25
    threading.Timer(0.05, items.put, ["late"]).start()
    assert stop.get(items) == "late"
    threading.Timer(0.05, stop.set, ["enough"]).start()
    assert stop.get(items) is None
    items.put("too late")
    assert stop.get(items) is None


def test_a_finished_role_exits_with_0():
    process = run("pass")
    assert process.returncode == 0
    assert "actor-3 INFO finished" in process.stderr


def test_a_crash_shows_its_traceback_and_exits_with_1():
    process = run("raise KeyError('lost')")
    assert process.returncode == 1
    assert "actor-3 failed" in process.stderr
    assert "Traceback" in process.stderr
    assert "KeyError: 'lost'" in process.stderr


@pytest.mark.parametrize(
    ("body", "line", "code"),
    [
        ("raise PlainError('got 1, wanted 2')", "got 1, wanted 2", 1),
        (
            f"raise OSError({errno.ENOSPC}, 'No space', 'x.pt')",
            "the disk is full (x.pt): free some space or choose another --runs-dir",
            EXIT_FINAL,
        ),
    ],
)
def test_a_failure_that_says_all_is_one_line(body, line, code):
    process = run(body)
    assert process.returncode == code
    assert [text.split("ERROR ")[1] for text in process.stderr.splitlines()] == [line]


@pytest.mark.parametrize("code", ["", "0", "None"])
def test_a_role_that_calls_sys_exit_has_not_finished(code):
    process = run(f"sys.exit({code})")
    assert process.returncode == 1
    assert f"actor-3 called sys.exit({code.replace('None', '')})" in process.stderr
    assert "Traceback" in process.stderr


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_stops_politely(signal_name):
    process = run(
        f"import os, signal; os.kill(os.getpid(), signal.{signal_name}); stop.wait(30)",
        before="import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)",
    )
    assert process.returncode == 0
    assert f"stopped ({signal_name})" in process.stderr


def test_a_role_started_by_nohup_outlives_its_terminal():
    process = run(
        "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print(stop.wait(0.3))",
        before="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)",
    )
    assert (process.returncode, process.stdout) == (0, "False\n")
    assert "actor-3 INFO finished" in process.stderr


def test_every_node_of_the_seed_tree_is_its_own():
    nodes = [
        seed_sequence(seed, role, index, *path)
        for seed in (0, 1)
        for role in ("actor", "reanalyzer")
        for index in (0, 1)
        for path in ((), (0,), (1,))
    ]
    states = {tuple(node.generate_state(4)) for node in nodes}
    assert len(states) == len(nodes)
    again = generator(1, "actor", 1).random(3), generator(1, "actor", 1).random(3)
    assert np.array_equal(*again)


LOGS_TO_FULL_DISK = """
import logging
from efficientzero.process.runtime import setup_logging

setup_logging("learner", 0)
full = logging.getLogger("full")
full.propagate = False
full.addHandler(logging.FileHandler("/dev/full"))
full.warning("a line")
full.warning("not %d line", "one")
"""


def test_a_handler_that_cannot_write_says_so_in_a_line_and_other_errors_keep_their_stack():
    done = subprocess.run(
        [sys.executable, "-c", LOGS_TO_FULL_DISK], capture_output=True, text=True, check=True
    )
    first, _, others = done.stderr.partition("\n")
    assert first == "full: a line of its log is lost: [Errno 28] No space left on device"
    assert "Traceback" in others and "TypeError: %d format" in others

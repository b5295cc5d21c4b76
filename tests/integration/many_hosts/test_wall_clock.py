"""That the chaos test's clocks are set as a machine's clock is: reads and waits follow."""

import shutil
import subprocess
import sys
import time

import pytest

from tests.chaos.wall_clock import WallClocks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler"),
]

HOUR = 3600.0
# Reads lines of Python and prints what each returns.
READER = """
import ctypes, datetime, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
class Deadline(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]
def wait_until(date):
    semaphore = ctypes.create_string_buffer(32)
    libc.sem_init(semaphore, 0, 0)
    libc.sem_timedwait(semaphore, ctypes.byref(Deadline(int(date), 0)))
    return ctypes.get_errno()
def timed(function, *arguments):
    started = time.monotonic()
    return function(*arguments), time.monotonic() - started
for line in sys.stdin:
    print(repr(eval(line)), flush=True)
"""


class Process:
    """A Python that runs as the module ``learner``."""

    def __init__(self, folder, clocks):
        (folder / "learner.py").write_text(READER)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "learner"],
            cwd=folder,
            env=clocks.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, expression):
        self._process.stdin.write(expression + "\n")
        self._process.stdin.flush()

    def end(self):
        return eval(self._process.stdout.readline())

    def __call__(self, expression):
        self.begin(expression)
        return self.end()

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="module")
def clocks(tmp_path_factory):
    return WallClocks(tmp_path_factory.mktemp("clocks") / "clocks")


@pytest.fixture
def process(tmp_path, clocks):
    clocks.set_right()
    process = Process(tmp_path, clocks)
    yield process
    process.close()


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@pytest.mark.parametrize(
    "now", ["time.time()", "datetime.datetime.now().timestamp()", "float(libc.time(None))"]
)
def test_wall_clock_jumps_and_the_monotonic_one_does_not(process, clocks, jump, now):
    before, monotonic = process(now), process("time.monotonic()")
    clocks.jump(jump)
    assert process(now) - before == pytest.approx(jump, abs=60)
    assert process("time.monotonic()") - monotonic == pytest.approx(0, abs=60)


def test_another_roles_clock_is_its_own(process, clocks):
    before = process("time.time()")
    clocks.jump(HOUR, "actor", "replay")
    assert process("time.time()") - before == pytest.approx(0, abs=60)


@pytest.mark.parametrize("wait", ["time.sleep(0.2)", "threading.Event().wait(0.2)"])
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_waits_for_a_span_take_as_long_as_before(process, clocks, jump, wait):
    clocks.jump(jump)
    _, seconds = process(f"timed(lambda: {wait})")
    assert 0.19 < seconds < 60


def test_wait_for_a_date_ends_when_the_clock_jumps_past_it(process, clocks):
    date = process("time.time()") + HOUR
    process.begin(f"timed(wait_until, {date})")
    time.sleep(0.5)  # it waits by now; if not, it ends all the same
    clocks.jump(2 * HOUR)
    timed_out, seconds = process.end()
    assert timed_out == 110  # ETIMEDOUT
    assert seconds < 60

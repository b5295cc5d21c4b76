"""The faults: what is done to a running run, and what may be lost by it.

Each is injected into a real ``launch.py --local`` from outside, at a moment drawn from a seed.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.integration.local_runs import LocalRun, fill

NUM_ENVS = 8
EPISODE_LENGTH = 9
ENV_STEPS, TRAIN_STEPS, LAST_TRAIN_STEPS, CHECKPOINT_INTERVAL = 1203, 240, 6, 20
IN_FLIGHT = NUM_ENVS * EPISODE_LENGTH
"""Env_steps of all episodes that the actor is playing: what its death may cost."""
SINCE_SNAPSHOT = 2 * CHECKPOINT_INTERVAL * ENV_STEPS // TRAIN_STEPS
"""Env_steps since replay's newest snapshot; twice the interval, as one may be in the making."""

FAKETIME_LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_CLOCK_FILE = "clock"
# libfaketime 0.9.10 takes a monotonic time for a wall time there: every time.sleep would fail.
_SLEEP_AS_THE_KERNEL_DOES = """
#include <cerrno>
#include <ctime>
#include <sys/syscall.h>
#include <unistd.h>
extern "C" int clock_nanosleep(clockid_t clock, int flags, const timespec* until, timespec* left) {
  return syscall(SYS_clock_nanosleep, clock, flags, until, left) == 0 ? 0 : errno;
}
"""
_FREE_BYTES = 128 * 1024
_WAIT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a fault is injected."""

    run: LocalRun
    folder: Path
    """The case's own: a small disk where the fault wants one, else a plain folder."""
    chance: random.Random
    pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault."""

    name: str
    inject: Callable[[Site], None]
    """Returns when the fault is over and recovery begins."""
    role: str = ""
    """Which process dies of it; empty: none."""
    lost: int = 0
    """Env_steps that one injection may cost."""
    disk_bytes: int = 0
    """Run on a file system of this size (needs root); 0: on the usual one."""
    needs_faketime: bool = False


def kill(role: str) -> Callable[[Site], None]:
    """Return the fault of kill -9."""

    def inject(site: Site) -> None:
        site.run.kill(f"{role}-0")

    return inject


def pause(role: str) -> Callable[[Site], None]:
    """Return the fault of a process that does nothing for a while, and then goes on."""

    def inject(site: Site) -> None:
        site.run.signal(f"{role}-0", signal.SIGSTOP)
        time.sleep(site.pause_s)
        site.run.signal(f"{role}-0", signal.SIGCONT)

    return inject


def fill_disk_for_a_checkpoint(site: Site) -> None:
    """Leave too little room for a checkpoint until one has failed, then make room again."""
    complaints = site.run.output.count("no checkpoint of train_step")
    ballast = fill(site.folder, leave_bytes=_FREE_BYTES)
    try:
        _wait(
            site.run,
            "a checkpoint that does not fit",
            lambda: site.run.output.count("no checkpoint of train_step") > complaints,
        )
    finally:
        ballast.unlink()


def damage_newest_checkpoint(site: Site) -> None:
    """Change one byte inside the newest checkpoint's largest tensor, then kill the learner."""
    checkpoints = site.run.directory / "checkpoints"
    _wait(site.run, "a second checkpoint", lambda: len(list(checkpoints.glob("*.pt"))) > 1)
    newest = sorted(checkpoints.glob("*.pt"))[-1]
    fallen_back = site.run.output.count("trying the one before")
    _change_a_byte(newest, _offset_in_largest_member(newest, site.chance))
    site.run.kill("learner-0")
    _wait(
        site.run,
        "the checkpoint before",
        lambda: site.run.output.count("trying the one before") > fallen_back,
    )


def damage_newest_snapshot(site: Site) -> None:
    """Change one byte of replay's newest snapshot, then kill replay."""
    kept = site.run.directory / "replay-0" / "kept"
    _wait(site.run, "a second snapshot", lambda: len(_snapshots(kept)) > 1)
    chunks = _snapshots(kept)[-1] / "chunks.tfrecord"
    told = site.run.output.count("is damaged")
    _change_a_byte(chunks, site.chance.randrange(64, chunks.stat().st_size - 8))
    site.run.kill("replay-0")
    _wait(
        site.run,
        "the snapshot before",
        lambda: site.run.output.count("is damaged") > told,
    )


def jump_clock(site: Site) -> None:
    """Set the wall clock of all processes an hour forwards, and later two back."""
    for offset in ("+3600", "-3600"):
        (site.folder / _CLOCK_FILE).write_text(offset + "\n")
        time.sleep(site.pause_s)


def clock_environment(folder: Path) -> dict[str, str]:
    """Return what puts a run's wall clock into the hands of ``jump_clock``; sets it right first.

    The monotonic clock is left alone, as by a real jump.
    """
    (folder / _CLOCK_FILE).write_text("+0\n")
    sleep = folder / "sleep.so"
    command = ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(sleep)]
    subprocess.run(command, input=_SLEEP_AS_THE_KERNEL_DOES, text=True, check=True)
    return {
        "LD_PRELOAD": f"{sleep}:{FAKETIME_LIBRARY}",
        "FAKETIME_TIMESTAMP_FILE": str(folder / _CLOCK_FILE),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(name="kill actor", role="actor", inject=kill("actor"), lost=IN_FLIGHT),
        Fault(name="kill reanalyzer", role="reanalyzer", inject=kill("reanalyzer")),
        Fault(name="kill evaluator", role="evaluator", inject=kill("evaluator")),
        Fault(name="kill learner", role="learner", inject=kill("learner"), lost=IN_FLIGHT),
        Fault(
            name="kill replay",
            role="replay",
            inject=kill("replay"),
            lost=IN_FLIGHT + SINCE_SNAPSHOT,
        ),
        Fault(name="pause actor", inject=pause("actor")),
        Fault(name="pause reanalyzer", inject=pause("reanalyzer")),
        Fault(name="pause learner", inject=pause("learner")),
        # An actor gives up an episode that replay does not take for 30 s.
        Fault(name="pause replay", inject=pause("replay"), lost=2 * IN_FLIGHT),
        Fault(
            name="disk full at a checkpoint",
            inject=fill_disk_for_a_checkpoint,
            disk_bytes=260 * 10**6,
        ),
        Fault(
            name="damaged checkpoint",
            role="learner",
            inject=damage_newest_checkpoint,
            lost=IN_FLIGHT,
        ),
        Fault(
            name="damaged snapshot",
            role="replay",
            inject=damage_newest_snapshot,
            lost=IN_FLIGHT + 2 * SINCE_SNAPSHOT,
        ),
        Fault(name="clock jumps", inject=jump_clock, needs_faketime=True),
    )
}


def _snapshots(kept: Path) -> list[Path]:
    return sorted(path for path in kept.iterdir() if not path.name.startswith("."))


def _offset_in_largest_member(path: Path, chance: random.Random) -> int:
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    header = path.read_bytes()[largest.header_offset :][:30]
    name_length, extra_length = (int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
    start = largest.header_offset + 30 + name_length + extra_length
    return start + chance.randrange(largest.file_size)


def _change_a_byte(path: Path, offset: int) -> None:
    with path.open("r+b", buffering=0) as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 0xFF]))


def _wait(run: LocalRun, what: str, is_reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not is_reached():
        ended = run.process.poll()
        if ended is not None:
            raise AssertionError(f"the run ended with {ended} before {what}")
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {_WAIT_S:.0f} s for {what}")
        time.sleep(0.05)

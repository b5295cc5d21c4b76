"""The faults: what is done to a running run, and what may be lost by it.

Each is injected into a real ``launch.py --local`` from outside, at a moment drawn from a seed.
"""

from __future__ import annotations

import random
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.chaos.clock_faults import drift_apart, jump, set_back_and_kill_replay
from tests.chaos.gate_faults import hold_half_open_calls, report_what_is_not_so, steal_places
from tests.chaos.site import Fault, Site
from tests.integration.local_runs import fill

_QUIET_S = 3.0
"""From the first write that waits until nothing is played or trained any more, and longer."""


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


def fill_disk(site: Site) -> None:
    """Leave no room at all until the run waits for it, then make room again."""
    waits = site.run.output.count("the run waits for room")
    over = site.run.output.count("the wait for room is over")
    ballast = fill(site.folder)
    try:
        site.wait("a pause", lambda: site.run.output.count("the run waits for room") > waits)
        time.sleep(_QUIET_S)
        before = site.run.wait_for_status("what was done", lambda known: True)
        time.sleep(_QUIET_S)
        after = site.run.wait_for_status("that no more is done", lambda known: True)
        assert (before.env_steps, before.train_steps) == (after.env_steps, after.train_steps)
        assert "disk full" in after.waiting_for
    finally:
        ballast.unlink()
    site.wait(
        "the end of the pause", lambda: site.run.output.count("the wait for room is over") > over
    )


def damage_newest_checkpoint(site: Site) -> None:
    """Change one byte inside the newest checkpoint's largest tensor, then kill the learner."""
    checkpoints = site.run.directory / "checkpoints"
    site.wait("a second checkpoint", lambda: len(list(checkpoints.glob("*.pt"))) > 1)
    newest = sorted(checkpoints.glob("*.pt"))[-1]
    fallen_back = site.run.output.count("trying the one before")
    _change_a_byte(newest, _offset_in_largest_member(newest, site.chance))
    site.run.kill("learner-0")
    site.wait(
        "the checkpoint before",
        lambda: site.run.output.count("trying the one before") > fallen_back,
    )


def damage_newest_snapshot(site: Site) -> None:
    """Change one byte of replay's newest snapshot, then kill replay."""
    site.wait("a second snapshot", lambda: len(site.snapshots) > 1)
    chunks = site.snapshots[-1] / "chunks.tfrecord"
    told = site.run.output.count("is damaged")
    _change_a_byte(chunks, site.chance.randrange(64, chunks.stat().st_size - 8))
    site.run.kill("replay-0")
    site.wait(
        "the snapshot before",
        lambda: site.run.output.count("is damaged") > told,
    )


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(name="kill actor", role="actor", inject=kill("actor"), episodes=1),
        Fault(name="kill reanalyzer", role="reanalyzer", inject=kill("reanalyzer")),
        Fault(name="kill evaluator", role="evaluator", inject=kill("evaluator")),
        Fault(name="kill learner", role="learner", inject=kill("learner"), episodes=1),
        Fault(name="kill replay", role="replay", inject=kill("replay"), episodes=1, snapshots=1),
        # A worker that says nothing for 30 s has lost its place, and starts again.
        Fault(name="pause actor", inject=pause("actor"), episodes=1),
        Fault(name="pause reanalyzer", inject=pause("reanalyzer")),
        Fault(name="pause learner", inject=pause("learner"), episodes=1),
        # An actor gives up an episode that replay does not take for 30 s.
        Fault(name="pause replay", inject=pause("replay"), episodes=2),
        Fault(
            name="disk full",
            inject=fill_disk,
            disk_bytes=260 * 10**6,
        ),
        Fault(
            name="damaged checkpoint",
            role="learner",
            inject=damage_newest_checkpoint,
            episodes=1,
        ),
        Fault(
            name="damaged snapshot",
            role="replay",
            inject=damage_newest_snapshot,
            episodes=1,
            snapshots=2,
        ),
        Fault(name="stolen places", inject=steal_places),
        Fault(name="half-open calls", inject=hold_half_open_calls),
        Fault(name="false reports", inject=report_what_is_not_so),
        Fault(name="clocks jump", inject=jump, sets_clocks=True),
        Fault(name="clocks apart", inject=drift_apart, sets_clocks=True),
        Fault(
            name="clocks back, kill replay",
            role="replay",
            inject=set_back_and_kill_replay,
            episodes=1,
            snapshots=1,
            sets_clocks=True,
        ),
    )
}


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

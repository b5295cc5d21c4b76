"""How much memory a run takes, and how much there is. Called before anything starts.

Replay lies in memory as a whole: one that does not fit ends the run hours later. So does a process
that the kernel ends for the sum of all; what each takes is ``process_memory``'s to know.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy.checks.preflight import PreflightError, size
from deploy.checks.process_memory import ERROR, batch_bytes, number_of, process_memory
from efficientzero.config import Config
from efficientzero.schema import EnvSpec, PolicyShape

MAX_MEMORY_SHARE = 0.8
"""Of what is available, for replay: the processes themselves need the rest."""

# Measured with real frames: 1.65 KB per transition of 96x96 RGB, of which 1.1 KB belong to the item
# itself and the rest is the step at 1/48 of its size. Vectors hardly compress.
_ITEM_BYTES = 1_100
_IMAGE_COMPRESSION = 48
_SECOND_ITEM_BYTES = 1_100  # where priorities are refreshed, measured
# Measured with random frames and episodes of one step: more than any task's transitions take.
_SHORTEST_EPISODE_BYTES = 1_500
_ALLOCATOR = 1.2
_FLOAT_BYTES = 4

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_UNLIMITED = 2**60
"""What cgroups of the first version say where there is no limit is more than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayMemory:
    """What a full replay takes, bytes."""

    transitions: int
    """Held at the most: the capacity, or all that is ever played."""
    per_transition: int
    """Images compressed as games' are."""
    most_per_transition: int
    """Frames that do not compress, the shortest episodes."""
    queue: int
    """Training batches that wait for the learner, not compressed."""

    @property
    def total(self) -> int:
        """Expected of the whole replay."""
        return self.transitions * self.per_transition + self.queue

    @property
    def most(self) -> int:
        """Bound of the whole replay."""
        return self.transitions * self.most_per_transition + self.queue


def replay_memory(config: Config, spec: EnvSpec) -> ReplayMemory:
    """Estimate the memory of a full replay."""
    frame_bytes = math.prod(spec.frame_shape) * np.dtype(spec.frame_dtype).itemsize
    stored = frame_bytes // _IMAGE_COMPRESSION if spec.is_image else frame_bytes
    items = _ITEM_BYTES + (_SECOND_ITEM_BYTES if config.replay.priority_refresh_share else 0)
    policy = PolicyShape.of(spec, config.search.sampled_actions)
    if policy.action_size:  # drawn actions are stored, and random numbers do not compress
        items += _FLOAT_BYTES * policy.width * (1 + policy.action_size)
    return ReplayMemory(
        transitions=min(config.replay.capacity, config.budget.env_steps),
        per_transition=items + stored,
        most_per_transition=int(_ALLOCATOR * (items + frame_bytes) + _SHORTEST_EPISODE_BYTES),
        queue=batch_bytes(config, spec) * config.replay.queue_size,
    )


def check_memory(config: Config, spec: EnvSpec) -> str:
    """Check that a full replay and the run's processes fit, and say what they take.

    Raises:
        PreflightError: they surely do not; names the field to lower.
    """
    memory, available = replay_memory(config, spec), available_memory_bytes()
    takes = (
        f"{memory.per_transition:,} bytes a transition, {memory.transitions:,} transitions and "
        f"{config.replay.queue_size} training batches take about {size(memory.total)}"
    )
    room = int(MAX_MEMORY_SHARE * available)
    if memory.total > room:
        fits = (room - memory.queue) // memory.per_transition
        if fits >= config.learner.batch_size:
            field, got, wanted = "replay.capacity", config.replay.capacity, fits
        else:
            field, got = "learner.batch_size", config.learner.batch_size
            wanted = max(1, got * room // (2 * memory.queue))
        raise PreflightError(
            f"--{field.replace('_', '-')}: got {got:,}, wanted at most {wanted:,}: replay's "
            f"{takes} of the {size(available)} available"
        )
    bound = f"at most {size(memory.most)}"
    if memory.most > room:
        bound += ", more than there is room for, if frames do not compress"
    processes = _check_processes(config, spec, memory, available)
    return f"replay: {takes} ({bound}) of {size(available)} available; {processes}"


def _check_processes(config: Config, spec: EnvSpec, memory: ReplayMemory, available: int) -> str:
    """Say what every process takes, and warn or refuse where that is too much together.

    Raises:
        PreflightError: it is more than there is, even if each takes as little as any did.
    """
    each, numbers = process_memory(config, spec), number_of(config)
    is_served = not config.cluster.bind_host.startswith("127.")
    if is_served:  # the workers are on other hosts or in other containers
        numbers = {role: numbers[role] for role in ("launcher", "replay", "learner")}
    total = sum(each[role] * number for role, number in numbers.items()) + memory.total
    parts = ", ".join(
        f"{f'{number} x ' * (number > 1)}{role} {size(each[role])}"
        for role, number in numbers.items()
        if number
    )
    text = f"with its processes ({parts}) {size(total)}"
    if total <= available:
        return text
    least = int((1.0 - ERROR) * (total - memory.total)) + memory.total
    advice = _what_takes_less(config, each, numbers)
    if least > available and not is_served:
        raise PreflightError(
            f"memory: got {size(available)} available, wanted about {size(total)} (at least "
            f"{size(least)}) for replay's {size(memory.total)} and the processes {parts}; {advice}"
        )
    return f"{text}, MORE THAN THERE IS: {advice}, or the kernel may end processes"


def _what_takes_less(config: Config, each: Mapping[str, int], numbers: Mapping[str, int]) -> str:
    """Name the switch that lowers the largest part."""
    largest = max(numbers, key=lambda role: each[role] * numbers[role])
    switches = {
        "actor": "--actors" if numbers.get("actor", 0) > 1 else "--actor.num-envs",
        "reanalyzer": "--reanalyzers" if numbers.get("reanalyzer", 0) > 1 else "",
        "evaluator": "--evaluator.final-num-episodes",
    }
    switch = switches.get(largest) or f"--learner.batch-size (now {config.learner.batch_size})"
    return f"most is the {largest}'s: lower {switch}"


def available_memory_bytes() -> int:
    """Return the memory that new processes can use: the machine's, or that of a group they are in.

    A container or a service manager limits a group of processes, and so may every group round it.
    """
    lines = (_PROC / "meminfo").read_text().splitlines()
    meminfo = dict(line.split(":", 1) for line in lines)
    available = int(meminfo["MemAvailable"].split()[0]) * 1024
    return max(0, min([available, *_left_in_groups()]))


def _left_in_groups() -> Iterator[int]:
    for folder, limit, used, cache in _memory_groups():
        # Not there in this container's view, or "max".
        with contextlib.suppress(OSError, ValueError, KeyError):
            most = int((folder / limit).read_text())
            if most < _UNLIMITED:
                statistics = (folder / "memory.stat").read_text().splitlines()
                pages = dict(line.split() for line in statistics)
                # Files read once are dropped before anybody is refused memory.
                yield most - int((folder / used).read_text()) + int(pages[cache])


def _memory_groups() -> Iterator[tuple[Path, str, str, str]]:
    """Return this process's groups from the outermost, and their files' names in its version."""
    first = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    second = ("memory.max", "memory.current", "inactive_file")
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, files = (_CGROUPS / "memory", first) if controllers else (_CGROUPS, second)
        group = root
        yield group, *files
        for part in path.strip("/").split("/"):
            group /= part
            yield group, *files

"""The command ``cpu``: where the CPU-seconds of runs went, by role and timed section.

Reads run folders: the sums by role in ``summary.json``, and the metric rows in ``wandb/`` for what
the loops' sections used. Runs nothing.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks.pages.markdown import revision_text, table
from benchmarks.pages.run_cost import Window, cpu_share_name, windows
from deploy.ablate.check import read_summary
from deploy.results import read_rows
from efficientzero.runs.run_folder import RunInfo

_THREADS = "other threads"
_UNTIMED = "not timed by section"
_OUTSIDE = "start and end"
_WORDS = {"other": "in no section"}
_SMALLEST_SHARE = 0.005  # of the run; smaller sections are one line


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuCommand:
    """Show where the CPU-seconds of runs went: by role, and by timed section of its loop.

    Runs of one environment and preset are one table, with the means over them.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of finished runs."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="PAGE.md")] = None
    """Write the page there, too."""


@dataclass(slots=True)
class Profile:
    """The CPU-seconds of one run."""

    label: str  # environment and preset
    of_role: dict[str, float]
    of_section: dict[str, dict[str, float]]
    """Role -> section -> CPU-seconds; they add up to the role's. Empty: no row has them."""
    wall_of_section: dict[str, dict[str, float]] = field(default_factory=dict)
    """Seconds on the wall in each timed section, of all processes of the role."""
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Of all roles."""
        return sum(self.of_role.values())


def write_profile(command: CpuCommand, arguments: Sequence[str]) -> None:
    """Print the page, and write it if a file is named.

    Args:
        command: what to do.
        arguments: the command line, for the page.

    Raises:
        ValueError: no run, a folder that is none or kept no sums, a file that cannot be written.
    """
    if not command.runs:
        raise ValueError("runs: got none, wanted run folders")
    profiles: dict[str, list[Profile]] = defaultdict(list)
    for directory in command.runs:
        profile = read_profile(directory)
        profiles[profile.label].append(profile)
    text = make_page(profiles, shlex.join(("python", "-m", "benchmarks", *arguments)))
    print(text, end="", flush=True)
    if command.out is not None:
        try:
            command.out.parent.mkdir(parents=True, exist_ok=True)
            command.out.write_text(text)
        except OSError as error:
            raise ValueError(f"--out: cannot write {command.out} ({error.strerror})") from error


def _sections(window: Window, group: str) -> dict[str, float]:
    """Return section -> share of one group of a row's metrics."""
    prefix, found = f"{window.role}/{group}/", {}
    for name, value in window.values.items():
        section = name.removeprefix(prefix).removesuffix("_share")
        if name == f"{prefix}{section}_share" and section != "wait":  # the sum of others
            found[_WORDS.get(section, section)] = value
    return found


def read_profile(directory: Path) -> Profile:
    """Read one run folder.

    Raises:
        ValueError: no run, no CPU-seconds in its summary, or unreadable metric rows.
    """
    config = RunInfo.load(directory / "config.json").config
    summary = read_summary(directory)
    totals: dict[str, float] = summary.get("cpu_seconds") or {}
    if not totals:
        raise ValueError(f"{directory}: got no cpu_seconds in summary.json, wanted a finished run")
    cpu: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    wall: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for window in windows(read_rows(directory)):
        role, used = window.role, window.values[cpu_share_name(window.role)]
        sections = _sections(window, "cpu")
        for section, share in sections.items():
            cpu[role][section] += share * window.seconds
        rest = _THREADS if sections else _UNTIMED
        cpu[role][rest] += max(0.0, used - sum(sections.values())) * window.seconds
        for section, share in _sections(window, "time").items():
            wall[role][section] += share * window.seconds
    for role, sections in cpu.items():
        sections[_OUTSIDE] = max(0.0, totals.get(role, 0.0) - sum(sections.values()))
    return Profile(
        label=f"{config.env.id} ({config.preset})",
        of_role=dict(totals),
        of_section={role: dict(sections) for role, sections in cpu.items()},
        wall_of_section={role: dict(sections) for role, sections in wall.items()},
        summary=summary,
    )


def make_page(profiles: Mapping[str, Sequence[Profile]], command: str) -> str:
    """Return the page.

    Args:
        profiles: by environment and preset; each group is a table.
        command: what made the page.
    """
    parts = [
        "# Where the CPU-seconds go",
        f"Made by `{command}`. CPU-seconds of a whole run, all processes but the launcher; means "
        "over the runs. Sections are those of each role's loop (docs/reference/metrics.md), by the "
        f"processor time of its thread. *{_THREADS}*: the other threads in the same "
        f"process (gRPC, replay's client, wandb, the next batch). *{_WORDS['other']}*: the loop "
        f"between its sections. *{_OUTSIDE}*: before the first metric row and after the last, "
        "mostly imports. "
        "*wall*: seconds that the loop was in the section; where cores are shared it is more than "
        f"the processor time. Sections below {_SMALLEST_SHARE:.1%} of the run are one line.",
    ]
    for label, runs in profiles.items():
        parts += [f"## {label}", _heading(runs), _role_table(runs), _section_table(runs)]
    return "\n\n".join(parts) + "\n"


def _heading(runs: Sequence[Profile]) -> str:
    totals = [run.total for run in runs]
    spread = f", {min(totals):,.0f} to {max(totals):,.0f}" if len(runs) > 1 else ""
    seeds = ", ".join(str(run.summary["seed"]) for run in runs)
    minutes = np.mean([run.summary["wall_s"] / 60.0 for run in runs])
    reached = np.mean([run.summary["eval_return_mean"] for run in runs])
    commits = {(run.summary.get("versions") or {}).get("git_commit", "") for run in runs}
    made_at = ", ".join(sorted(map(revision_text, commits)))
    return (
        f"Runs: {len(runs)} (seed {seeds}), {runs[0].summary['env_steps']:,} env_steps, "
        f"{runs[0].summary['train_steps']:,} train_steps, {minutes:.1f} minutes, final return "
        f"{reached:.2f}, {np.mean(totals):,.0f} CPU-seconds{spread}. Revision {made_at}."
    )


def _role_table(runs: Sequence[Profile]) -> str:
    whole = np.mean([run.total for run in runs])
    means = _means([run.of_role for run in runs])
    rows = [(role, f"{s:.0f}", f"{s / whole:.0%}") for role, s in means.items()]
    return table(("role", "CPU-s", "of the run"), rows)


def _section_table(runs: Sequence[Profile]) -> str:
    whole = float(np.mean([run.total for run in runs]))
    rows: list[tuple[object, ...]] = []
    for role in _means([run.of_role for run in runs]):
        means = _means([run.of_section.get(role, {}) for run in runs])
        walls = _means([run.wall_of_section.get(role, {}) for run in runs])
        small = {name: s for name, s in means.items() if s < _SMALLEST_SHARE * whole}
        small = small if len(small) > 1 else {}
        for name, seconds in means.items():
            if name not in small:
                wall = f"{walls[name]:.0f}" if name in walls else ""
                rows.append((role, name, f"{seconds:.1f}", f"{seconds / whole:.1%}", wall))
        untimed = {name: s for name, s in walls.items() if name not in means and round(s)}
        rows += [(role, name, "", "", f"{s:.0f}") for name, s in untimed.items()]
        if small:
            seconds = sum(small.values())
            row = (role, f"{len(small)} smaller", f"{seconds:.1f}", f"{seconds / whole:.1%}", "")
            rows.append(row)
    return table(("role", "section", "CPU-s", "of the run", "wall"), rows)


def _means(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each name over the runs, the largest first; absent counts as 0."""
    names = dict.fromkeys(name for run in runs for name in run)
    means = {name: float(np.mean([run.get(name, 0.0) for run in runs])) for name in names}
    return dict(sorted(means.items(), key=lambda item: -item[1]))

"""The command line that every role shares: which run, which index."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from efficientzero.run_folder import RunInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class _CommandLine:
    config: Path
    """The run's config.json, as launch.py wrote it."""
    index: int = 0
    """Which process of this role; part of its seeds and of its name."""
    incarnation: int = 0
    """How often this process was started again before (set by the supervisor)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleArguments:
    """A role's parsed command line."""

    run: RunInfo
    index: int
    incarnation: int


def parse_role_arguments(role: str, description: str | None) -> RoleArguments:
    """Parse ``sys.argv`` and read the run file; a bad one ends the process with one line."""
    line = tyro.cli(_CommandLine, prog=f"python -m {role}", description=description)
    try:
        run = RunInfo.load(line.config)
    except ValueError as error:
        print(f"{role}: error: {error}", file=sys.stderr)
        sys.exit(2)
    if line.index < 0:
        print(f"{role}: error: --index: got {line.index}, wanted 0 or more", file=sys.stderr)
        sys.exit(2)
    return RoleArguments(run=run, index=line.index, incarnation=line.incarnation)

"""Which processes make up a run: a pure function from the run to the commands to start.

Called by the launcher; the order is the order of starting. Knows the roles by name only and
imports none of them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from efficientzero.config import Config
from efficientzero.runs.run_folder import RunInfo

WORKER_ROLES = ("reanalyzer", "actor", "evaluator")
"""Roles that may come and go: clients of the learner and of replay."""

SERVER_ROLES = ("replay", "learner")
"""Roles that others connect to."""

_MODULES = {
    "replay": "replay",
    "learner": "learner",
    "rank": "learner.rank",
    "reanalyzer": "reanalyzer",
    "actor": "actor",
    "evaluator": "actor.evaluator",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process to start."""

    role: str
    index: int
    argv: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name in logs and file names: ``actor-1``."""
        return f"{self.role}-{self.index}"


def processes(run: RunInfo) -> list[ProcessSpec]:
    """Return the run's processes in the order in which they are started."""
    has_actors = not (run.lineage and run.lineage.is_frozen)
    return [_spec(run, role, index) for role, index in places(run.config, has_actors=has_actors)]


def places(config: Config, *, has_actors: bool = True) -> list[tuple[str, int]]:
    """Return role and index of a run's processes in the order in which they are started.

    Args:
        config: of the run.
        has_actors: whether the run plays.
    """
    cluster = config.cluster
    counts = {
        "reanalyzer": cluster.num_reanalyzers,
        "actor": cluster.num_actors if has_actors else 0,
        "evaluator": int(cluster.evaluator),
    }
    # The learner is rank 0.
    ranks = [("rank", rank) for rank in range(1, config.learner.num_devices)]
    workers = [(role, index) for role, count in counts.items() for index in range(count)]
    return [("replay", 0), ("learner", 0), *ranks, *workers]


def _spec(run: RunInfo, role: str, index: int) -> ProcessSpec:
    config_path = str(run.config_path.resolve())
    # -P: the working directory is the launcher's, and its modules must not stand for the roles.
    module = (sys.executable, "-P", "-m", _MODULES[role])
    argv = (*module, "--config", config_path, "--index", str(index))
    return ProcessSpec(role=role, index=index, argv=argv)

"""Which processes make up a run: a pure function from the run to the commands to start.

Called by the launcher; the order is the order of starting. Knows the roles by name only and
imports none of them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

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
    cluster = run.config.cluster
    # The learner is rank 0.
    ranks = [_spec(run, "rank", rank) for rank in range(1, run.config.learner.num_devices)]
    counts = {
        "reanalyzer": cluster.num_reanalyzers,
        "actor": 0 if run.lineage and run.lineage.is_frozen else cluster.num_actors,
        "evaluator": int(cluster.evaluator),
    }
    workers = [_spec(run, role, index) for role, count in counts.items() for index in range(count)]
    return [_spec(run, "replay", 0), _spec(run, "learner", 0), *ranks, *workers]


def _spec(run: RunInfo, role: str, index: int) -> ProcessSpec:
    config_path = str(run.config_path.resolve())
    # -P: the working directory is the launcher's, and its modules must not stand for the roles.
    module = (sys.executable, "-P", "-m", _MODULES[role])
    argv = (*module, "--config", config_path, "--index", str(index))
    return ProcessSpec(role=role, index=index, argv=argv)

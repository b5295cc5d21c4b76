"""What the folder of a run that has ended says: found by path or by its learner's address.

Called by ``launch.py status``. Reads files only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.results.ladder import ladder_lines, saved_ladder
from deploy.results.next_steps import resume_advice
from deploy.results.summary import summary_lines
from efficientzero.runs.results.run_summary import SUMMARY_FILE
from efficientzero.runs.run_folder import RunInfo

_SIGNALLED = 128  # an exit code above it is this plus the signal's number


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A run and how it ended."""

    run: RunInfo
    summary: dict[str, Any]
    """As the launcher, or a learner without one, wrote it."""

    @property
    def state(self) -> str:
        """In a word: finished, stopped or failed."""
        if self.is_complete:
            return "finished"
        return "stopped" if self.exit_code > _SIGNALLED else "failed"

    @property
    def exit_code(self) -> int:
        """Of the launcher; of a run without one, what it would have been."""
        return int(self.summary["exit_code"])

    @property
    def is_complete(self) -> bool:
        """Whether it ended at its budget: such a run is never started again."""
        return self.exit_code == 0

    def lines(self) -> list[str]:
        """Return what the run's own last lines said, and how it goes on if it can."""
        expected = logged_processes(self.run.directory)
        lines = [self.state, *summary_lines(self.run, self.summary, expected=expected)]
        if not self.is_complete and not self.summary.get("eval_is_final"):
            is_served = not self.run.config.cluster.bind_host.startswith("127.")
            lines.append(f"{'resume':<10} {resume_advice(self.run, is_served=is_served)}")
        return [*lines, *ladder_lines(saved_ladder(self.run.directory))]

    def as_values(self) -> dict[str, Any]:
        """Return it as JSON values, with the keys that a running run's status has."""
        budget = self.run.config.budget
        return {
            "phase": self.state,
            "env_steps": self.summary.get("env_steps"),
            "env_steps_budget": budget.env_steps,
            "train_steps": self.summary.get("train_steps"),
            "train_steps_budget": budget.total_train_steps,
            "waiting_for": "",
            "cause": self.summary.get("exit_reason", ""),
            "processes": [],
            "exit_code": self.exit_code,
            "eval_return_mean": self.summary.get("eval_return_mean"),
            "eval_is_final": self.summary.get("eval_is_final"),
            "warnings": [line["message"] for line in self.summary.get("collapse", [])],
            "directory": str(self.run.directory),
            **({"ladder": ladder} if (ladder := saved_ladder(self.run.directory)) else {}),
        }


def logged_processes(run_dir: Path) -> list[str]:
    """Return the names of the processes that the launcher started and that record with wandb.

    Each has a log in the run's folder: ``actor-0``. A rank records nothing.
    """
    names = [path.stem for path in sorted((run_dir / "logs").glob("*-*.log"))]
    return [name for name in names if not name.startswith("rank-")]


def ended_run(run: RunInfo) -> EndedRun | None:
    """Return how the run ended, or None if its folder holds no summary.

    Raises:
        ValueError: there is a summary that cannot be read.
    """
    path = run.directory / SUMMARY_FILE
    try:
        summary = json.loads(path.read_text())
        int(summary["exit_code"])
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not readable: {type(error).__name__}: {error}") from error
    return EndedRun(run=run, summary=summary)


def run_at(address: str, runs_dir: Path) -> RunInfo | None:
    """Return the run in ``runs_dir`` that last had its learner at an address, None without any.

    A folder that cannot be read is left out: it may be any run's.
    """
    found: dict[float, RunInfo] = {}
    for path in runs_dir.glob("*/config.json"):
        try:
            run = RunInfo.load(path)
            written_s = path.stat().st_mtime
        except (OSError, ValueError):
            continue
        if run.learner_address == address:
            found[written_s] = run
    return found[max(found)] if found else None

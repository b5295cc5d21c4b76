"""What a run's last lines may say: what its folder holds, not what was meant to be there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from deploy.results.wandb_history import has_rows
from efficientzero.metrics import NOT_UPLOADED_FILE
from efficientzero.runs.results.episode_lines import EPISODES_FILE
from efficientzero.runs.results.run_summary import EVALUATIONS_FILE, SUMMARY_FILE, newest_train_step
from efficientzero.runs.run_folder import RunInfo

_FILES = (SUMMARY_FILE, EVALUATIONS_FILE, EPISODES_FILE, "checkpoints", "logs")
_WANDB_FOLDER = re.compile(r"(?:offline-)?run-\d+_\d+-[0-9a-f]{8}-([a-z]+-\d+)(?:-offline)?")

Row = tuple[str, str]
"""A name and what is said of it."""


def wandb_folders(run_dir: Path) -> frozenset[str]:
    """Return the names of the folders that wandb has made for the run's processes."""
    folders = (run_dir / "wandb").glob("*run-*")
    return frozenset(path.name for path in folders if _process(path.name))


def wandb_rows(
    run: RunInfo, expected: Collection[str] = (), before: Collection[str] = ()
) -> list[Row]:
    """Say what wandb kept in this launch, and the command that uploads what is on disk only.

    Args:
        run: whose launch has ended.
        expected: names of the processes that ran here and record: ``actor-0``.
        before: ``wandb_folders`` when the launch began.
    """
    if run.tracking_mode == "disabled":
        return []
    folder, all_folders = run.directory / "wandb", wandb_folders(run.directory)
    begun, kept = set(), set()
    for name in all_folders - set(before):
        process = _process(name)
        begun.add(process)
        if has_rows(folder / name):
            kept.add(process)
    lacks = _lacks("no rows of", [name for name in expected if name in begun - kept])
    absent = _lacks("see logs/: no file of", [name for name in expected if name not in begun])
    if run.tracking_mode == "offline":
        upload = f"upload it with: wandb beta sync {shlex.quote(str(folder))}"
        if kept:
            return [("wandb", f"recorded offline{lacks}{absent}; {upload}")]
        earlier = f"; there is more of earlier launches, {upload}" if before else ""
        return [("wandb", f"no metrics were recorded in {folder}{lacks}{absent}{earlier}")]
    rows = [("wandb", f"not all was recorded{absent}")] if absent else []
    if (folder / NOT_UPLOADED_FILE).exists():
        # Not `wandb beta sync`: of a run that the server has in part it would repeat rows.
        each = f"xargs -d '\\n' -n 1 wandb sync < {NOT_UPLOADED_FILE}"
        upload = f"(cd {shlex.quote(str(folder))} && {each})"
        rows.append(("wandb", f"not everything was uploaded; upload it with: {upload}"))
    return rows


def _process(folder_name: str) -> str:
    found = _WANDB_FOLDER.fullmatch(folder_name)
    return found[1] if found else ""


def _lacks(what: str, names: Sequence[str]) -> str:
    return f" ({what} {', '.join(names)})" if names else ""


def files_row(run: RunInfo) -> Row:
    """Say where the run's files are, and which of them there are."""
    there = [name for name in _FILES if (run.directory / name).exists()]
    names = [f"{name}/" if (run.directory / name).is_dir() else name for name in there]
    return "files", f"{run.directory} ({', '.join(names) or 'nothing is there'})"


def unsaved_rows(run: RunInfo, summary: dict[str, Any]) -> list[Row]:
    """Say which train_steps no checkpoint holds, where there is one."""
    newest = newest_train_step(run)
    if newest is None or newest >= summary["train_steps"]:
        return []
    lost = summary["train_steps"] - newest
    return [("not saved", f"the {lost:,} train_steps after the checkpoint of train_step {newest}")]

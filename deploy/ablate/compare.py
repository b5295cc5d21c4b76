"""What a finished grid says: which runs must not be compared as they are, and how actors scale."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from deploy.ablate.grid import ACTORS, SEED
from deploy.ablate.runner import CellRun
from deploy.checks import reason
from deploy.results import read_scaling_run, read_stamp, scaling_points, scaling_table, unfair
from efficientzero.runs.results.fairness_stamp import Stamp

_DONE = ("finished", "skipped")


def compare(runs: Sequence[CellRun], runs_dir: Path) -> list[str]:
    """Return closing lines for a person; write table and picture of the scaling, if there is one.

    Runs are compared within one environment; the scaling takes those that differ in the number of
    actors and the seed alone.
    """
    done = [run for run in runs if run.state in _DONE and run.run_dir is not None]
    lines = []
    for env in dict.fromkeys(run.checked.cell.config.env.id for run in done):
        alike = [run for run in done if run.checked.cell.config.env.id == env]
        stamps: dict[str, Stamp | None] = {}
        for run in alike:
            try:
                stamps[run.checked.cell.label] = read_stamp(_folder(run))
            except ValueError as error:
                lines.append(f"not compared: {run.checked.cell.label}: {error}")
        lines += [f"unlike the others: {line}" for line in unfair(stamps)]
    return [*lines, *_scaling(done, runs_dir)]


def _scaling(done: Sequence[CellRun], runs_dir: Path) -> list[str]:
    families: dict[str, list[CellRun]] = {}
    for run in done:
        place = run.checked.cell.place
        rest = [str(value) for axis, value in place.items() if axis not in (ACTORS, SEED)]
        families.setdefault(" ".join(rest), []).append(run)
    lines = []
    for name, family in families.items():
        counts = {run.checked.cell.config.cluster.num_actors for run in family}
        if len(counts) > 1:
            lines += ["", *_write_scaling(name, family, runs_dir)]
    return lines


def _write_scaling(name: str, family: Sequence[CellRun], runs_dir: Path) -> list[str]:
    # Half a second that only those who draw should wait.
    from deploy.results.scaling_figure import draw_scaling  # noqa: PLC0415

    points = scaling_points([read_scaling_run(_folder(run)) for run in family])
    table = scaling_table(points)
    stem = "scaling-" + re.sub(r"[^A-Za-z0-9._=+-]+", "-", name)
    picture, text = runs_dir / f"{stem}.png", runs_dir / f"{stem}.md"
    try:
        draw_scaling(points, title=name, out=picture)
        text.write_text(table + "\n")
    except OSError as error:
        last_line = f"cannot write {error.filename or picture} ({reason(error)})"
    else:
        last_line = f"wrote {picture} and {text}"
    return [f"{name}:", table, last_line]


def _folder(run: CellRun) -> Path:
    assert run.run_dir is not None
    return run.run_dir

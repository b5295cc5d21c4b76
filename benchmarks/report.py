"""The command ``search``: take all measurements; and rows as a table or as JSON lines."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import tyro
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import Row, Usage, describe_machine
from benchmarks.search.plain_loop import measure_free_plain_loop, measure_plain_loop
from benchmarks.search.search_cost import measure_overhead, measure_ratio
from benchmarks.search.tree_cost import measure_trees
from benchmarks.search.tree_footprint import measure_bytes, measure_instructions
from benchmarks.search.tree_threads import measure_threads

_LOG_WIDTH = 120
_SEARCH_TITLE = "us: CPU microseconds per root and simulation, median"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCommand:
    """Measure trees and search on this machine's CPU, in CPU time; about two minutes.

    benchmarks/README.md says what each row means.
    """

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """One JSON object a row instead of the table; the first describes the machine."""


def measure_search(command: SearchCommand) -> None:
    """Measure everything and print it."""
    torch.set_num_threads(1)
    machine, usage = describe_machine(), Usage()
    if not command.json:
        print(machine, flush=True)
    rows = [
        *measure_trees(),
        *measure_threads(),
        *measure_bytes(),
        *measure_instructions(),
        *measure_overhead(64, rounds=30),
        *measure_free_plain_loop(64, rounds=15),
        *measure_ratio(8, rounds=30),
        *measure_ratio(64, rounds=8),
        *measure_plain_loop(8, rounds=15),
        *measure_plain_loop(64, rounds=5),
    ]
    effort = f"{usage.wall_s:.0f} s; this process got {usage.share:.0%} of one core"
    print_rows(rows, machine=machine, effort=effort, as_json=command.json)


def print_rows(
    rows: Sequence[Row],
    *,
    machine: str,
    effort: str,
    as_json: bool,
    title: str = _SEARCH_TITLE,
) -> None:
    """Print the rows, the time they took, and the limits that do not hold."""
    if as_json:
        print(json_lines(rows, machine=f"{machine}\n{effort}"))
        return
    # No narrower than the table: in a log it would lose its figures.
    Console(width=None if sys.stdout.isatty() else _LOG_WIDTH).print(make_table(rows, title))
    print(f"Took {effort}.")
    failed = [row.name for row in rows if row.holds is False]
    print(f"Missed: {'; '.join(failed)}" if failed else "All requirements hold.")


def json_lines(rows: Sequence[Row], *, machine: str) -> str:
    """Return one object a line; the machine's has a text for a value."""
    header = {"name": "machine", "value": machine, "unit": None, "must": None, "holds": None}
    return "\n".join(
        json.dumps(values)
        for values in (header, *({**dataclasses.asdict(row), "holds": row.holds} for row in rows))
    )


def make_table(rows: Sequence[Row], title: str = _SEARCH_TITLE) -> Table:
    """Return the rows as a table under its title."""
    table = Table(
        title=title,
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("what", no_wrap=True)
    for column in ("value", "fastest", "", "must", "holds", "x floor", ""):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            _digits(row.value),
            _digits(row.fastest),
            row.unit,
            _limit(row),
            {None: "", True: "yes", False: "NO"}[row.holds],
            "" if row.times_floor is None else f"{row.times_floor:.0f}",
            row.note,
        )
    return table


def _limit(row: Row) -> str:
    return "" if row.must is None else f"{'>=' if row.at_least else '<='} {row.must:g}"


def _digits(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004

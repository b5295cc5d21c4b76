"""The report's tables: text in cells, sorted, with their averages below."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deploy.report.estimates import AGGREGATES, Estimate
from deploy.report.runs import Run
from deploy.report.scores import methods_of
from efficientzero.envs.atari.scores import (
    DIGITISED,
    atari100k_game,
    atari100k_scores,
    human_normalized,
    published_columns,
)
from efficientzero.schema import F64

_REFERENCES = ("random", "human")
_LEVERAGE_AGGREGATES = ("mean", "median", "IQM")
_SMALL, _LARGE = 10.0, 1_000.0
"""Below the first, scores have two decimals; from the second on, none."""
_PAGE_WIDTH, _LONGEST_CELL, _LONGEST_HEADER = 156, 32, 14
"""In characters; the page breaks what is longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; the first column is text, the others are right-aligned unless all is text."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    footer: Sequence[Sequence[str]] = ()
    is_text: bool = False

    def parts(self) -> list[Table]:
        """Return tables that fit the page, side by side those columns that have room together."""
        widths = [self._width(column) for column in range(len(self.header))]
        columns: list[list[int]] = [[]]
        for column in range(1, len(self.header)):
            if columns[-1] and sum(widths[c] for c in [0, *columns[-1], column]) > _PAGE_WIDTH:
                columns.append([])
            columns[-1].append(column)
        return [
            Table(
                header=[self.header[c] for c in (0, *chosen)],
                rows=[[row[c] for c in (0, *chosen)] for row in self.rows],
                footer=[[row[c] for c in (0, *chosen)] for row in self.footer],
                is_text=self.is_text,
            )
            for chosen in columns
        ]

    def _width(self, column: int) -> int:
        """Return about how many characters a column takes: cells that are long are broken."""
        longest = max((len(row[column]) for row in [*self.rows, *self.footer]), default=0)
        return min(_LONGEST_CELL, max(longest, min(_LONGEST_HEADER, len(self.header[column])))) + 3


def aggregate_table(
    numbers: Mapping[str, Mapping[str, Estimate]],
    better: Mapping[str, Estimate],
    seeds: Mapping[str, int],
    baseline: str | None,
) -> Table:
    """Return a row a method, the highest IQM first."""
    order = sorted(seeds, key=lambda method: -numbers["IQM"][method].value)
    return Table(
        header=("method", "seeds", *numbers, *([f"beats {baseline}"] if better else [])),
        rows=[
            (
                method,
                str(seeds[method]),
                *(_interval(estimates[method]) for estimates in numbers.values()),
                *([_interval(better[method]) if method in better else ""] if better else []),
            )
            for method in order
        ],
    )


def environment_tables(runs: Sequence[Run]) -> list[Table]:
    """Return final returns by environment; for Atari a second table next to published ones."""
    methods, finals = methods_of(runs), _finals(runs)
    environments = sorted({run.env_id for run in runs})
    cells = {
        (env, method): _mean_and_range(finals[method, env])
        for env in environments
        for method in methods
    }
    if len(methods) > len(environments):
        rows = [(method, *(cells[env, method] for env in environments)) for method in methods]
        own = Table(header=("method", *environments), rows=rows)
    else:
        rows = [(env, *(cells[env, method] for method in methods)) for env in environments]
        own = Table(header=("environment", *methods), rows=rows)
    games = {env: game for env in environments if (game := atari100k_game(env))}
    return [own, _beside_published(methods, finals, games)] if games else [own]


def _beside_published(
    methods: Sequence[str], finals: Mapping[tuple[str, str], list[float]], games: dict[str, str]
) -> Table:
    columns = (*_REFERENCES, *published_columns())
    raw: dict[str, dict[str, float]] = defaultdict(dict)  # column -> game -> score
    for env, game in games.items():
        raw.update({c: {**raw[c], game: atari100k_scores()[game][c]} for c in columns})
        for method in methods:
            if finals[method, env]:
                raw[method][game] = float(np.mean(finals[method, env]))
    header = (*methods, *columns)
    footer = []
    for name, function in (("mean", np.mean), ("median", np.median)):
        values = {
            column: function([human_normalized(game, score) for game, score in raw[column].items()])
            for column in header
            if len(raw[column]) == len(games) and column not in DIGITISED
        }
        cells = [f"{values[column]:.3f}" if column in values else "" for column in header]
        footer.append((f"normalised {name}", *cells))
    names = [f"{column} (digitised)" if column in DIGITISED else column for column in header]
    return Table(
        header=("game", *names),
        rows=[
            (game, *(_score(raw[c][game]) if game in raw[c] else "" for c in header))
            for game in games.values()
        ],
        footer=footer,
    )


def leverage_table(
    matrices: Mapping[str, F64],
    without: Mapping[str, Sequence[Mapping[str, float]]],
    environments: Sequence[str],
    order: Sequence[str],
) -> Table:
    """Return the aggregates of each method without each environment, in ``order``."""
    header = ["left out"]
    whole = ["none"]
    for method, matrix in matrices.items():
        header += [f"{method}: {name}" for name in _LEVERAGE_AGGREGATES]
        whole += [f"{AGGREGATES[name](matrix):.3f}" for name in _LEVERAGE_AGGREGATES]
    rows = []
    for env in order:
        left = environments.index(env)
        cells = [
            f"{rest[left][name]:.3f}" for rest in without.values() for name in _LEVERAGE_AGGREGATES
        ]
        rows.append((env, *cells))
    return Table(header=header, rows=rows, footer=[whole])


def time_table(shares: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Return a row a section; ``shares`` is method -> role -> section -> share."""
    sections = {
        (role, section)
        for roles in shares.values()
        for role, by_section in roles.items()
        for section in by_section
    }

    def share(method: str, role: str, section: str) -> float:
        return shares[method].get(role, {}).get(section, 0.0)

    order = sorted(sections, key=lambda key: (key[0], -max(share(m, *key) for m in shares)))
    return Table(
        header=("role: section", *shares),
        rows=[
            (f"{role}: {section}", *(f"{share(method, role, section):.1%}" for method in shares))
            for role, section in order
        ],
    )


def fairness_table(runs: Sequence[Run]) -> Table | None:
    """Return a row a stamped run, or None if there is none."""
    stamped = [run for run in runs if run.fairness]
    if not stamped:
        return None
    names = sorted({name for run in stamped for name in run.fairness})
    return Table(
        header=("run", "method", *names),
        rows=[
            (run.name, run.method, *(_cell(run.fairness.get(name)) for name in names))
            for run in stamped
        ],
    )


def run_table(runs: Sequence[Run]) -> Table:
    """Return a row a run."""
    return Table(
        header=(
            "run",
            "method",
            "group",
            "seed",
            "env_steps",
            "train_steps",
            "minutes",
            "episodes",
            "return",
        ),
        rows=[
            (
                run.name,
                run.method,
                run.group,
                str(run.seed),
                f"{run.last.env_steps:,}",
                f"{run.last.train_steps:,}",
                f"{run.last.minutes:.1f}",
                str(len(run.last.returns)),
                f"{run.last.mean:,.2f}" + " (not final)" * (not run.last.is_final),
            )
            for run in runs
        ],
    )


def _finals(runs: Sequence[Run]) -> dict[tuple[str, str], list[float]]:
    """Return (method, environment) -> final mean return of each seed."""
    finals: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        finals[run.method, run.env_id].append(run.last.mean)
    return finals


def _mean_and_range(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = _score(float(np.mean(values)))
    if len(values) == 1:
        return f"{mean} (n=1)"
    return f"{mean} [{_score(min(values))}, {_score(max(values))}] (n={len(values)})"


def _score(value: float) -> str:
    if abs(value) >= _LARGE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= _SMALL else f"{value:.2f}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)

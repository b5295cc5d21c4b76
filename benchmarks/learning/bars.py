"""Bars that runs are held to: a mean return, or games won or lost against an opponent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from benchmarks.baselines.curves import LearningCurve, by_algorithm
from benchmarks.baselines.drawing import NAMES
from benchmarks.learning.intervals import mean_interval
from benchmarks.learning.opponents import final_matches
from benchmarks.learning.results import Result
from benchmarks.pages.markdown import interval_text, table

_Kind = Literal["return", "wins", "losses"]
_NO_BAR = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a seed's final evaluation should reach."""

    env_id: str
    kind: _Kind
    opponent: str = ""
    """Of wins and losses, which are counted in 100 games."""
    value: float

    @property
    def name(self) -> str:
        """For a person."""
        if self.kind == "return":
            return "mean return"
        return f"{self.kind} of 100 against {self.opponent}"

    def holds(self, reached: float) -> bool:
        """Return whether a number is on the right side of the bar, or on it."""
        return reached <= self.value if self.kind == "losses" else reached >= self.value

    def worst(self, by_seed: Mapping[int, float]) -> int:
        """Return the seed farthest on the wrong side."""
        sign = -1.0 if self.kind == "losses" else 1.0
        return min(by_seed, key=lambda seed: sign * by_seed[seed])

    def measure(self, results: Sequence[Result]) -> dict[int, float]:
        """Return seed -> what its final evaluation reached; seeds that did not play are absent."""
        if self.kind == "return":
            return {result.config.seed: result.last.mean for result in results}
        return {
            seed: 100.0 * getattr(match.score, self.kind) / match.score.games
            for seed, match in final_matches(results).get(self.opponent, {}).items()
        }


def parse_bar(text: str) -> Bar:
    """Read ``Pendulum-v1=-250`` or ``OpenSpiel/tic_tac_toe:minimax:losses=5``.

    Raises:
        ValueError: it is something else.
    """
    name, equals, value = text.rpartition("=")
    env_id, *what = name.split(":")
    opponent, kind = what if len(what) == len(("opponent", "kind")) else ("", "return")
    try:
        if not equals or not env_id or len(what) not in (0, 2) or kind not in get_args(_Kind):
            raise ValueError
        if bool(opponent) == (kind == "return"):
            raise ValueError
        return Bar(env_id=env_id, kind=kind, opponent=opponent, value=float(value))  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(
            f"--bars: got {text!r}, wanted ENV=RETURN, ENV:OPPONENT:wins=PERCENT or "
            "ENV:OPPONENT:losses=PERCENT"
        ) from error


def bars_table(
    tasks: Mapping[str, Mapping[str, Sequence[Result]]],
    plain: Sequence[LearningCurve],
    bars: Sequence[Bar],
) -> str:
    """Return a row for each bar and arm; the returns of tasks without a bar are shown, too.

    Args:
        tasks: environment -> arm -> results by seed.
        plain: curves of plain algorithms, whose returns are held to the same bars.
        bars: of any environments; of one without runs it is said.
    """
    rows: list[tuple[object, ...]] = []
    for env_id, arms in tasks.items():
        own = [bar for bar in bars if bar.env_id == env_id]
        for bar in own or [Bar(env_id=env_id, kind="return", value=_NO_BAR)]:
            for arm, results in arms.items():
                rows.append((env_id, arm, bar.name, *_cells(bar, bar.measure(results))))
            if bar.kind == "return":
                (config, *_) = (results[0].config for results in arms.values())
                methods = by_algorithm(plain, env_id, config.budget.env_steps)
                for method, curves in methods.items():
                    by_seed = {curve.seed: curve.last_return for curve in curves}
                    name = NAMES.get(method, method)
                    rows.append((env_id, name, bar.name, *_cells(bar, by_seed)))
    for bar in bars:
        if bar.env_id not in tasks:
            rows.append((bar.env_id, "", bar.name, f"{bar.value:g}", "no run has finished", "", ""))
    return table(("task", "arm", "what", "bar", "mean of seeds", "worst seed", "seeds"), rows)


def _cells(bar: Bar, by_seed: Mapping[int, float]) -> tuple[object, ...]:
    is_bar = bar.value != _NO_BAR
    limit = f"{bar.value:g}" if is_bar else ""
    if not by_seed:
        return limit, "not played", "", ""
    worst, mean = bar.worst(by_seed), mean_interval([*by_seed.values()])
    held = sum(map(bar.holds, by_seed.values()))
    verdict = f" (bar {'holds' if bar.holds(mean.mean) else 'missed'})" if is_bar else ""
    seeds = f"{held} of {len(by_seed)} hold" if is_bar else str(len(by_seed))
    return limit, interval_text(mean) + verdict, f"{by_seed[worst]:.2f} (seed {worst})", seeds

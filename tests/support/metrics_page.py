"""Reads docs/reference/metrics.md: which metrics there are, and what each is drawn over."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"
AXES = ("env_steps", "train_steps", "wall")
EXPECTED_ANYWHERE = ("always", "once")


@dataclass(frozen=True)
class Documented:
    """One metric of the page; a line with ``<a|b>`` is several."""

    name: str
    """``<k>`` stands for any number."""
    axis: str
    when: str

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.escape(self.name).replace("<k>", r"\d+"))


def read_page() -> list[Documented]:
    """Return the page's metrics; a line that is wrongly made is an error."""
    metrics = []
    for line in PAGE.read_text().splitlines():
        if not line.startswith("| `"):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert len(cells) == 6, f"wanted 6 cells: {line}"
        name, _, axis, when, meaning, healthy = cells
        assert axis in AXES, line
        assert meaning and healthy, line
        metrics += [Documented(one, axis, when) for one in _names(name.strip("`"))]
    names = [metric.name for metric in metrics]
    assert len(names) == len(set(names)), "a metric is there twice"
    return metrics


def _names(text: str) -> list[str]:
    parts = re.split(r"<([^<>]*\\\|[^<>]*)>", text)
    choices = [part.split(r"\|") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(words) for words in itertools.product(*choices)]

"""Scores of the 26 games of Atari 100k: of random play, of a human, and as published.

The evaluator normalises with them, the report compares with them. All are in ``atari100k.csv``,
one row a game. Sources of its columns: random, human, SimPLe, SPR, MuZero, EfficientZero (final
version, arXiv 2111.00210) and IRIS from eloialonso/iris, EfficientZero's next to its paper's table;
STORM from weipu-zhang/STORM; DIAMOND from eloialonso/diamond; DreamerV3 from danijar/dreamerv3
(training episodes past 380,000 frames); LightZero from its own script. Two are weaker:
EfficientZero V2 is read off the curves in its repository (2 % of an axis), and BBF was typed in
without the paper at hand, but has the paper's mean and median.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib import resources

_REFERENCES = ("random", "human")

DIGITISED = ("EfficientZero V2",)
"""Columns read off a picture: their means and medians are not those that the paper reports."""


@cache
def atari100k_scores() -> dict[str, dict[str, float]]:
    """Return game -> {"random": …, "human": …, "EfficientZero": …, …}, raw scores."""
    text = (resources.files("efficientzero.envs.atari") / "atari100k.csv").read_text()
    rows = csv.DictReader(text.splitlines())
    return {row.pop("game"): {name: float(score) for name, score in row.items()} for row in rows}


def published_columns() -> list[str]:
    """Return the names of the published algorithms, in the file's order."""
    first = next(iter(atari100k_scores().values()))
    return [name for name in first if name not in _REFERENCES]


def atari100k_game(env_id: str) -> str | None:
    """Return the game of an id such as ``ALE/Pong-v5``, or None if it is none of the 26."""
    match = re.fullmatch(r"ALE/(\w+)-v\d+", env_id)
    return match[1] if match and match[1] in atari100k_scores() else None


def human_normalized(game: str, score: float) -> float:
    """Return (score - random) / (human - random): 0 as random play, 1 as the human."""
    references = atari100k_scores()[game]
    return (score - references["random"]) / (references["human"] - references["random"])

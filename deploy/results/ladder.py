"""The ladder of a run with a pool of opponents, in words: baselines, members, ratings.

Used by ``launch.py status``: of a running run as its learner says it, else from ``league.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_FILE = Path("league") / "league.json"


def saved_ladder(run_folder: Path) -> list[dict[str, Any]]:
    """Return the places that a run's folder has; none of a run without a pool.

    Raises:
        ValueError: there is a file that cannot be read.
    """
    path = run_folder / _FILE
    try:
        places: list[dict[str, Any]] = json.loads(path.read_text())["ladder"]
        ladder_lines(places)
    except FileNotFoundError:
        return []
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not readable: {type(error).__name__}: {error}") from error
    return places


def ladder_lines(places: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each place, the strongest first; none without places.

    Args:
        places: with name, train_step, rating, half_width, games and win_estimate each.
    """
    if not places:
        return []
    rated = sorted((p for p in places if p["games"]), key=lambda p: -p["rating"])
    unrated = [place for place in places if not place["games"]]
    width = max(len(place["name"]) for place in places)
    lines = ["ladder: rating +- 95 % interval, games in evaluations, share that the newest win"]
    for place in (*rated, *unrated):
        rating = "not rated yet".rjust(15)
        if place["games"]:
            rating = f"{place['rating']:+7.0f} +- {place['half_width']:4.0f}"
        lines.append(
            f"  {place['name']:{width}}  {rating}  {place['games']:6,} games"
            f"  {place['win_estimate']:.2f}"
        )
    return lines

"""``episodes.jsonl``: one line per training game; in a very long run, one for several old games.

The learner writes the file, summaries and reports read it. It stays below ``MOST_LINES`` lines: in
a longer file, pairs of lines in the older half are merged into their means.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from efficientzero.runs.run_folder import read_lines, rewrite_lines

EPISODES_FILE = "episodes.jsonl"
MOST_LINES = 200_000
"""Limit of the file: 15 MB, which every summary and every resume reads."""


def num_episodes(line: dict[str, Any]) -> int:
    """Return how many training games a line stands for."""
    return int(line.get("episodes", 1))


def num_env_steps(line: dict[str, Any]) -> int:
    """Return the env_steps of all games that a line stands for."""
    return round(float(line["length"]) * num_episodes(line))


def shorten_file(path: Path) -> int:
    """Shorten the older half of a file's lines; return how many lines are left.

    Raises:
        OSError: the write failed; the file is unchanged.
    """
    lines = shortened(read_lines(path))
    rewrite_lines(path, lines)
    return len(lines)


def shortened(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines, oldest first, with neighbours in the older half merged in pairs."""
    half = len(lines) // 4 * 2
    pairs = zip(lines[:half:2], lines[1:half:2], strict=True)
    return [_joined(first, second) for first, second in pairs] + list(lines[half:])


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return one line for both: sums of games, means over them, and the later counts."""
    counts = num_episodes(first), num_episodes(second)
    means = {
        key: (first[key] * counts[0] + second[key] * counts[1]) / sum(counts)
        for key in ("return", "length")
    }
    actor = first["actor"] if first["actor"] == second["actor"] else -1
    return {**second, **means, "actor": actor, "episodes": sum(counts)}

"""The speed-up of the trees by a second thread.

In wall-clock time, because CPU time adds up both threads' work. Other processes lengthen it, so
only the fastest rounds are compared, and on a busy machine the number means nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.measuring import Row, wall_seconds
from benchmarks.search.tree_cost import PrecomputedSearch, Shape

_MIN_SPEEDUP = 1.7
_NUM_THREADS = 2
SHAPES = (Shape(50, 6, 256), Shape(50, 18, 256))


def measure_threads(shapes: Sequence[Shape] = SHAPES, *, rounds: int = 1000) -> list[Row]:
    """Compare one thread with two, on the same numbers and in turns."""
    has_cores = len(os.sched_getaffinity(0)) >= _NUM_THREADS
    return [
        _speedup(shape, rounds)
        if has_cores
        else Row(name=_name(shape), value=None, unit="x", note="one core only")
        for shape in shapes
    ]


def _speedup(shape: Shape, rounds: int) -> Row:
    tasks: dict[str, Callable[[], object]] = {
        f"{num_threads}": PrecomputedSearch(
            shape, np.random.default_rng(0), num_threads=num_threads
        ).run
        for num_threads in (1, _NUM_THREADS)
    }
    samples = wall_seconds(tasks, rounds=rounds)
    value = min(samples["1"]) / min(samples[f"{_NUM_THREADS}"])
    return Row(name=_name(shape), value=value, unit="x", must=_MIN_SPEEDUP, at_least=True)


def _name(shape: Shape) -> str:
    return f"2 threads for 1 {shape.size}"

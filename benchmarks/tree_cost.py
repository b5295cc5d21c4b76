"""What the C++ trees cost through numpy, with a network whose answers are computed beforehand.

The "floor" of each shape is the data's way alone: per simulation, one numpy copy of each of the
three arrays going in and of the three coming out, in their real sizes. At these sizes it is mostly
Python's and numpy's price of six calls, so it is a yardstick between machines and no strict lower
bound: the trees take the arrays uncopied in two calls, and with a few trees they are quicker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

from benchmarks.measuring import Row, cpu_seconds, per_simulation_us
from efficientzero.config import AgentConfig
from efficientzero.schema import F32
from mcts_cpp import SearchParams, TreeBatch

_MAX_GROWTH = 3.5  # of the cost of a simulation from the smallest M to the largest
_UNIT = "us"


class Shape(NamedTuple):
    """One measured size."""

    num_simulations: int  # M
    num_actions: int  # A
    num_trees: int  # B
    must_us: float | None  # per root and simulation

    @property
    def name(self) -> str:
        """How the row is called."""
        return f"tree M={self.num_simulations} A={self.num_actions} B={self.num_trees}"


SHAPES = (
    Shape(16, 6, 256, None),
    Shape(50, 6, 64, None),
    Shape(50, 6, 256, 0.5),
    Shape(50, 18, 256, 0.8),
    Shape(200, 6, 256, None),
    Shape(200, 18, 256, 1.8),
)


class PrecomputedSearch:
    """A search loop around trees whose network has already answered."""

    def __init__(self, shape: Shape, generator: np.random.Generator) -> None:
        """Draw all answers and allocate all arrays."""
        self._num_simulations, num_actions, num_trees, _ = shape
        nodes = self._num_simulations + 1
        self._logits = self._normal(generator, nodes, num_trees, num_actions)
        self._values = self._normal(generator, nodes, num_trees)
        self._prefixes = np.float32(0.1) * self._normal(generator, nodes, num_trees)
        self._parents = np.zeros(num_trees, np.int32)
        self._actions = np.zeros(num_trees, np.int32)
        self._resets = np.zeros(num_trees, np.bool_)
        self._copies = [
            np.empty_like(array)
            for array in (self._prefixes[0], self._values[0], self._logits[0], *self._outputs)
        ]
        self.trees = TreeBatch(
            num_trees,
            num_actions,
            self._num_simulations,
            SearchParams(discount=AgentConfig().discount),
            np.arange(num_trees, dtype=np.uint64),
        )

    def run(self) -> None:
        """Search once from new roots."""
        trees = self.trees
        trees.expand_roots(self._logits[0], self._values[0])
        for node in range(1, self._num_simulations + 1):
            trees.select_leaves(self._parents, self._actions, self._resets)
            trees.backup(self._prefixes[node], self._values[node], self._logits[node])

    def run_floor(self) -> None:
        """Copy what ``run`` hands over, and do nothing else."""
        prefixes, values, logits, *outputs = self._copies
        for node in range(1, self._num_simulations + 1):
            for source, copy in zip(self._outputs, outputs, strict=True):
                np.copyto(copy, source)
            np.copyto(prefixes, self._prefixes[node])
            np.copyto(values, self._values[node])
            np.copyto(logits, self._logits[node])

    @property
    def _outputs(self) -> tuple[np.ndarray[tuple[int], np.dtype[np.generic]], ...]:
        return (self._parents, self._actions, self._resets)

    @staticmethod
    def _normal(generator: np.random.Generator, *shape: int) -> F32:
        return generator.standard_normal(shape, dtype=np.float32)


def measure_trees(shapes: Sequence[Shape] = SHAPES, *, rounds: int = 60) -> list[Row]:
    """Measure every shape, and how the cost of a simulation grows with their number."""
    generator = np.random.default_rng(0)
    tasks: dict[str, Callable[[], object]] = {}
    for shape in shapes:
        search = PrecomputedSearch(shape, generator)
        tasks |= {shape.name: search.run, f"{shape.name} floor": search.run_floor}
    samples = cpu_seconds(tasks, rounds=rounds)

    def cost(seconds: float, shape: Shape) -> float:
        return per_simulation_us(
            seconds, num_roots=shape.num_trees, num_simulations=shape.num_simulations
        )

    rows = []
    for shape in shapes:
        spent = samples[shape.name]
        rows.append(
            Row(
                name=shape.name,
                value=cost(median(spent), shape),
                unit=_UNIT,
                must=shape.must_us,
                fastest=cost(min(spent), shape),
                times_floor=median(spent) / median(samples[f"{shape.name} floor"]),
            )
        )
    return [*rows, _growth(shapes, rows)]


def _growth(shapes: Sequence[Shape], rows: Sequence[Row]) -> Row:
    """Compare the most simulations with the fewest, at the first shape's A and B."""
    alike = [
        (shape.num_simulations, row)
        for shape, row in zip(shapes, rows, strict=True)
        if shape[1:3] == shapes[0][1:3]
    ]
    (fewest, base), (most, top) = min(alike, key=lambda x: x[0]), max(alike, key=lambda x: x[0])
    name = f"tree growth M={fewest} to M={most} A={shapes[0].num_actions}"
    fastest = (top.fastest or 0.0) / (base.fastest or 1.0)
    return Row(name=name, value=top.value / base.value, unit="x", must=_MAX_GROWTH, fastest=fastest)

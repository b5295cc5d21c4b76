"""The cost of the C++ trees through numpy, with a network whose answers are computed beforehand.

The "floor" of each shape is the cost of moving the data: per simulation, one numpy copy of each of
the three input and the three output arrays, in their real sizes. At these sizes it is mostly the
overhead of six Python and numpy calls, so it is a yardstick between machines and no strict lower
bound: the trees use the arrays without copies in two calls, and with a few trees they are quicker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal, NamedTuple

import numpy as np

from benchmarks.measuring import Row, Samples, cost_row, cpu_seconds, ratio_row
from efficientzero.config import AgentConfig
from efficientzero.schema import F32
from mcts_cpp import SearchParams, TreeBatch

_MAX_GROWTH = 3.5  # of the cost of a simulation from the smallest M to the largest
_MAX_GUMBEL = 1.5  # times PUCT


class Shape(NamedTuple):
    """One measured size."""

    num_simulations: int  # M
    num_actions: int  # A
    num_trees: int  # B
    must_us: float | None = None  # per root and simulation
    algorithm: Literal["puct", "gumbel"] = "puct"

    @property
    def size(self) -> str:
        """The sizes, which rows of other algorithms can share."""
        return f"M={self.num_simulations} A={self.num_actions} B={self.num_trees}"

    @property
    def name(self) -> str:
        """The name of the row."""
        return f"{'tree' if self.algorithm == 'puct' else self.algorithm} {self.size}"


# Shapes that are compared are next to each other.
SHAPES = (
    Shape(16, 6, 256),
    Shape(16, 6, 256, 0.3, "gumbel"),
    Shape(50, 6, 64),
    Shape(50, 6, 64, None, "gumbel"),
    Shape(50, 6, 256, 0.5),
    Shape(50, 6, 256, None, "gumbel"),
    Shape(50, 18, 256, 0.8),
    Shape(50, 18, 256, None, "gumbel"),
    Shape(200, 6, 256),
    Shape(200, 18, 256, 1.8),
    Shape(200, 18, 256, None, "gumbel"),
)


class PrecomputedSearch:
    """A search loop around trees whose network has already answered."""

    def __init__(
        self,
        shape: Shape,
        generator: np.random.Generator,
        *,
        draw_noise: bool = False,
        num_threads: int = 1,
    ) -> None:
        """Draw all answers and allocate all arrays.

        Args:
            shape: sizes and algorithm.
            generator: source of the answers.
            draw_noise: explore at the roots.
            num_threads: of the trees.
        """
        self._num_simulations, self._draw_noise = shape.num_simulations, draw_noise
        nodes, num_trees = shape.num_simulations + 1, shape.num_trees
        self._logits = self._normal(generator, nodes, num_trees, shape.num_actions)
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
            shape.num_actions,
            self._num_simulations,
            SearchParams(discount=AgentConfig().discount, algorithm=shape.algorithm),
            np.arange(num_trees, dtype=np.uint64),
            num_threads,
        )

    def run(self) -> None:
        """Search once from new roots."""
        trees = self.trees
        trees.expand_roots(self._logits[0], self._values[0], draw_noise=self._draw_noise)
        for node in range(1, self._num_simulations + 1):
            trees.select_leaves(self._parents, self._actions, self._resets)
            trees.backup(self._prefixes[node], self._values[node], self._logits[node])

    def run_floor(self) -> None:
        """Only copy the arrays that ``run`` passes."""
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
    """Measure every shape, Gumbel over PUCT, and how cost grows with the simulations."""
    generator = np.random.default_rng(0)
    tasks: dict[str, Callable[[], object]] = {}
    for shape in shapes:
        # PUCT explores with noise or without; without its chance Gumbel's search is another one.
        search = PrecomputedSearch(shape, generator, draw_noise=shape.algorithm == "gumbel")
        tasks |= {shape.name: search.run, f"{shape.name} floor": search.run_floor}
    samples = cpu_seconds(tasks, rounds=rounds)
    costs = [
        cost_row(
            shape.name,
            samples[shape.name],
            num_roots=shape.num_trees,
            num_simulations=shape.num_simulations,
            must=shape.must_us,
            times_floor=median(samples[shape.name]) / median(samples[f"{shape.name} floor"]),
        )
        for shape in shapes
    ]
    return [*costs, *_gumbel_ratios(shapes, samples), _growth(shapes, samples)]


def _gumbel_ratios(shapes: Sequence[Shape], samples: Samples) -> list[Row]:
    """Compare Gumbel with PUCT wherever both were measured at the same size."""
    puct = {shape.size: shape.name for shape in shapes if shape.algorithm == "puct"}
    return [
        ratio_row(
            f"gumbel / tree {shape.size}",
            samples[shape.name],
            samples[puct[shape.size]],
            must=_MAX_GUMBEL,
        )
        for shape in shapes
        if shape.algorithm == "gumbel" and shape.size in puct
    ]


def _growth(shapes: Sequence[Shape], samples: Samples) -> Row:
    """Compare the most simulations with the fewest, at the first shape's A and B."""
    alike = [shape for shape in shapes if shape[1:3] == shapes[0][1:3] and shape[4] == shapes[0][4]]
    fewest, most = (choose(alike, key=lambda x: x.num_simulations) for choose in (min, max))
    spread = most.num_simulations / fewest.num_simulations
    above, below = samples[most.name], samples[fewest.name]
    return Row(
        name=f"tree growth M={fewest[0]} to M={most[0]} A={fewest.num_actions}",
        value=median(above) / median(below) / spread,
        unit="x",
        must=_MAX_GROWTH,
        fastest=min(above) / min(below) / spread,
    )

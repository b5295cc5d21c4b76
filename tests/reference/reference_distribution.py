"""C51's projected targets a second time: two loops over atoms, in float64, from the paper's words.

Bellemare, Dabney and Munos (2017), algorithm 1, with n steps and a transform of values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def h(x: float) -> float:
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + 0.001 * x


def h_inverse(y: float) -> float:
    root = (math.sqrt(1 + 4 * 0.001 * (abs(y) + 1 + 0.001)) - 1) / (2 * 0.001)
    return math.copysign(root**2 - 1, y)


def projected(
    probabilities: Sequence[float],
    reward: float,
    discount: float,
    *,
    bound: float,
    is_transformed: bool,
) -> list[float]:
    """Return the target distribution m of ``reward`` + ``discount`` * Z."""
    num = len(probabilities)
    atoms = [-bound + 2 * bound * i / (num - 1) for i in range(num)]
    spacing = atoms[1] - atoms[0]
    target = []
    for atom in atoms:
        mass = 0.0
        for probability, origin in zip(probabilities, atoms, strict=True):
            moved = reward + discount * (h_inverse(origin) if is_transformed else origin)
            place = min(max(h(moved) if is_transformed else moved, -bound), bound)
            mass += probability * min(max(1 - abs(place - atom) / spacing, 0.0), 1.0)
        target.append(mass)
    return target

"""With which probability each member of the pool is the next opponent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from efficientzero.schema import F64

Sampling = Literal["uniform", "pfsp_hard", "pfsp_variance", "newest"]


def drawing_probabilities(
    estimates: Sequence[float],
    sampling: Sampling,
    *,
    power: float = 2.0,
    uniform_share: float = 0.0,
) -> F64:
    """Return P(i) = u / n + (1 - u) f(x_i) / sum of all f(x_j), f64 [n].

    Prioritized fictitious self-play (AlphaStar, Vinyals et al., 2019, methods).

    Args:
        estimates: x_i in 0..1 of each member, oldest first: how much of a game the newest weights
            win against it (``GameTable.estimate``); at least one.
        sampling: f. uniform: 1; pfsp_hard: (1 - x)^power, mostly those that win;
            pfsp_variance: x (1 - x), mostly equals; newest: 1 for the youngest member, else 0.
        power: of pfsp_hard.
        uniform_share: u in 0..1, drawn uniformly.

    Raises:
        ValueError: no member, or an estimate outside 0..1.
    """
    x = np.asarray(estimates, np.float64)
    if not len(x) or not ((x >= 0) & (x <= 1)).all():
        raise ValueError(f"estimates: got {list(estimates)}, wanted one or more from 0 to 1")
    weights = _weights(x, sampling, power)
    if weights.sum() == 0:  # all are beaten every time: none is harder than another
        weights = np.ones_like(x)
    shares: F64 = uniform_share / len(x) + (1.0 - uniform_share) * weights / weights.sum()
    return shares


def _weights(x: F64, sampling: Sampling, power: float) -> F64:
    if sampling == "uniform":
        return np.ones_like(x)
    if sampling == "pfsp_hard":
        hard: F64 = (1.0 - x) ** power
        return hard
    if sampling == "pfsp_variance":
        return x * (1.0 - x)
    youngest = np.zeros_like(x)
    youngest[-1] = 1.0
    return youngest

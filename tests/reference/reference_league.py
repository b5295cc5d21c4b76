"""Ratings and win estimates, slowly and written from the definitions, without derivatives.

Against ``learner.weights.league``.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

POINTS = 400 / math.log(10)


def log_posterior(wins: np.ndarray, points: np.ndarray, prior_points: float | None) -> float:
    """Return the logarithm of the likelihood of all games times the prior, up to a constant."""
    total = 0.0
    for i in range(len(wins)):
        for j in range(len(wins)):
            if wins[i, j]:
                total += wins[i, j] * math.log(1 / (1 + 10 ** ((points[j] - points[i]) / 400)))
    if prior_points is not None:
        total -= sum((r / prior_points) ** 2 / 2 for r in points[1:])
    return total


def rate(wins: np.ndarray, prior_points: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return points and 95 % half-widths, by a pattern search and by differences of the maximum."""
    points, width = np.zeros(len(wins)), 400.0
    best = log_posterior(wins, points, prior_points)
    while width > 1e-4:
        has_moved = False
        for player in range(1, len(wins)):
            for sign in (-1, 1):
                tried = points.copy()
                tried[player] += sign * width
                value = log_posterior(wins, tried, prior_points)
                if value > best:
                    points, best, has_moved = tried, value, True
        width = width if has_moved else width / 2
    h, size = 1.0, len(wins) - 1
    information = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            corners = 0.0
            for a in (-1, 1):
                for b in (-1, 1):
                    shifted = points.copy()
                    shifted[i + 1] += a * h
                    shifted[j + 1] += b * h
                    corners += a * b * log_posterior(wins, shifted, prior_points)
            information[i, j] = -corners / (4 * h * h)
    half_widths = 1.959964 * np.sqrt(np.diag(np.linalg.inv(information)))
    return points, np.concatenate([[0.0], half_widths])


def estimate(scores: Sequence[float]) -> float:
    """Return the win estimate after games with these scores, oldest first."""
    weights = [0.99 ** (len(scores) - 1 - i) for i in range(len(scores))]
    points = sum(w * s for w, s in zip(weights, scores, strict=True))
    return (points + 1) / (sum(weights) + 2)


def evicted(train_steps: Sequence[int]) -> int:
    """Return which train_step goes: the oldest of those whose removal opens the smallest gap."""
    gaps = {}
    for gone in sorted(train_steps)[1:-1]:
        left = sorted(set(train_steps) - {gone})
        (gaps[gone],) = [b - a for a, b in itertools.pairwise(left) if a < gone < b]
    return min(gone for gone, gap in gaps.items() if gap == min(gaps.values()))

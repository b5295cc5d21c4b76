"""Ratings of players from all their games, with intervals: Bradley and Terry (1952).

The order of games does not matter, unlike with incremental Elo. 400 points are odds of 10 to 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from efficientzero.schema import F64

_POINTS = 400.0 / math.log(10.0)
"""Points of one natural unit."""
_PRIOR_POINTS = 400.0
_Z95 = 1.959963984540054
_MOST_STEPS, _CLOSE_ENOUGH = 200, 1e-10
_SHORTEST_STEP = 1e-12


class Ratings(NamedTuple):
    """Ratings in points, player 0 at 0."""

    points: F64  # [P]
    half_widths: F64  # [P] of the 95 % intervals; 0 of player 0


def rate(wins: F64, *, prior_points: float | None = _PRIOR_POINTS) -> Ratings:
    """Return the most likely ratings of P players: P(i beats j) = 1 / (1 + 10^((r_j - r_i) / 400)).

    By Newton's method; the intervals are of the inverse Hessian.

    Args:
        wins: f64 [P, P], games that i won against j; a draw is half a win for each. Player 0 is the
            anchor.
        prior_points: standard deviation of a normal prior round the anchor, of every other player.
            None: no prior.

    Raises:
        ValueError: not square, negative or not finite; or, without a prior, a player or group of
            players that won or lost all games against the others, or played none.
    """
    is_square = wins.ndim == 2 and wins.shape[0] == wins.shape[1] and len(wins) > 0  # noqa: PLR2004
    if not is_square or not np.isfinite(wins).all() or (wins < 0).any() or wins.diagonal().any():
        raise ValueError(
            f"wins: got {wins.tolist()}, wanted a square of counts with zeros on its diagonal"
        )
    if prior_points is None and not _is_connected(wins):
        raise ValueError(
            "wins: got players that always win, always lose or never play, wanted a prior for them"
        )
    precision = 0.0 if prior_points is None else (_POINTS / prior_points) ** 2
    natural = np.zeros(len(wins))
    for _ in range(_MOST_STEPS):
        gradient, hessian = _derivatives(wins, natural, precision)
        step = np.zeros_like(natural)
        step[1:] = np.linalg.solve(hessian, gradient)
        length = 1.0
        before = _log_posterior(wins, natural, precision)
        while length > _SHORTEST_STEP and (
            _log_posterior(wins, natural + length * step, precision) < before
        ):
            length /= 2  # far from the maximum a whole step may be too long
        natural = natural + length * step
        if np.abs(step).max() < _CLOSE_ENOUGH:
            break
    _, hessian = _derivatives(wins, natural, precision)
    errors = np.zeros_like(natural)
    errors[1:] = np.sqrt(np.linalg.inv(hessian).diagonal())
    return Ratings(_POINTS * natural, _Z95 * _POINTS * errors)


def _log_posterior(wins: F64, natural: F64, precision: float) -> float:
    differences = natural[:, None] - natural[None, :]
    likelihood = -(wins * np.logaddexp(0.0, -differences)).sum()
    return float(likelihood - precision / 2 * (natural[1:] ** 2).sum())


def _derivatives(wins: F64, natural: F64, precision: float) -> tuple[F64, F64]:
    """Return gradient [P - 1] and negative Hessian [P - 1, P - 1] of the log posterior."""
    games = wins + wins.T
    expected = 1.0 / (1.0 + np.exp(natural[None, :] - natural[:, None]))  # [P, P] i beats j
    gradient = (wins - games * expected).sum(1) - precision * natural
    information = games * expected * expected.T
    hessian = np.diag(information.sum(1) + precision) - information
    return gradient[1:], hessian[1:, 1:]


def _is_connected(wins: F64) -> bool:
    """Return whether everybody has beaten everybody, if only by way of others (Ford, 1957)."""
    reached = (wins > 0) | np.eye(len(wins), dtype=bool)
    for _ in range(len(wins)):
        reached = reached @ reached
    return bool(reached.all())

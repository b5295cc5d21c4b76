"""Improved policies in slow Python, one root at a time: the truth for `improved_policy`.

Used by tests only. Written from what each policy is the optimum of, not from its closed form:
the regularised policy by Newton's method on its dual, the mellowmax policy as the softmax with
the wanted mean.
"""

import math
from collections.abc import Callable, Sequence


def softmax(logits: Sequence[float]) -> list[float]:
    """Return the softmax of a row."""
    highest = max(logits)
    exps = [math.exp(logit - highest) for logit in logits]
    return [exp / math.fsum(exps) for exp in exps]


def complete(
    visits: Sequence[int], q: Sequence[float | None], priors: Sequence[float], value: float
) -> list[float]:
    """Return Q with v_mix where it is None (Gumbel MuZero, appendix D)."""
    known = [a for a, number in enumerate(q) if number is not None]
    mass = math.fsum(priors[a] for a in known)
    mean = math.fsum(priors[a] * q[a] for a in known) / mass if known else 0.0  # type: ignore[operator]
    mixed = (value + sum(visits) * mean) / (1 + sum(visits))
    return [mixed if number is None else number for number in q]


def normalise(q: Sequence[float], smallest_range: float) -> list[float]:
    """Return Q from 0 to 1 by its range."""
    span = max(max(q) - min(q), smallest_range)
    return [(number - min(q)) / span for number in q]


def regularized(q: Sequence[float], priors: Sequence[float], strength: float) -> list[float]:
    """Return the maximum of q.y - strength * KL(priors, y) over distributions y.

    The Lagrangian's stationary point is y_a = strength * prior_a / (alpha - q_a). The sum of y is
    convex and falls with alpha, so Newton's steps from the left reach alpha from one side.
    """
    alpha = max(number + strength * prior for number, prior in zip(q, priors, strict=True))
    for _ in range(100):
        shares = [strength * prior / (alpha - n) for n, prior in zip(q, priors, strict=True)]
        slope = -math.fsum(share / (alpha - n) for n, share in zip(q, shares, strict=True))
        alpha -= (math.fsum(shares) - 1.0) / slope
    return [strength * prior / (alpha - n) for n, prior in zip(q, priors, strict=True)]


def mellowmax_value(q: Sequence[float], omega: float) -> float:
    """Return ln(mean(e^(omega q))) / omega."""
    return math.log(math.fsum(math.exp(omega * number) for number in q) / len(q)) / omega


def mellowmax(q: Sequence[float], omega: float) -> list[float]:
    """Return the softmax of Q whose mean Q is the mellowmax."""
    wanted = mellowmax_value(q, omega)

    def excess(beta: float) -> float:
        policy = softmax([beta * number for number in q])
        return math.fsum(p * n for p, n in zip(policy, q, strict=True)) - wanted

    if max(q) - min(q) < 1e-12:
        return [1 / len(q)] * len(q)
    return softmax([_root(excess, 0.0, 2 * omega) * number for number in q])


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return low

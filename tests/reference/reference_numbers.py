"""The arithmetic of the reference search: random numbers, and float32 sums and exponentials.

Used by the reference only. All float32 arithmetic rounds once per operation, in the order that the
extension promises; sums are taken over eight interleaved partial sums, the order of a vector unit.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

F32 = np.float32
MASK_64 = (1 << 64) - 1


def mixed_bits(z: int) -> int:
    """Return SplitMix64's permutation of a 64-bit number."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK_64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK_64
    return z ^ (z >> 31)


class CounterRandom:
    """The SplitMix64 sequence of one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._num_draws = 0

    def next(self) -> int:
        """Return the next 64 bits."""
        self._num_draws += 1
        return mixed_bits((self._seed + self._num_draws * 0x9E3779B97F4A7C15) & MASK_64)

    def choose(self, actions: Sequence[int]) -> int:
        """Return one of several actions; draws a number only if there are several."""
        if len(actions) == 1:
            return actions[0]
        return actions[((self.next() >> 32) * len(actions)) >> 32]

    def uniform(self) -> float:
        """Return a number in (0, 1)."""
        return ((self.next() >> 12) + 0.5) * 2.0**-52

    def normal(self) -> float:
        """Return a standard normal number, by Box and Muller."""
        radius = math.sqrt(-2.0 * math.log(self.uniform()))
        return radius * math.cos(2.0 * math.pi * self.uniform())

    def log_gamma(self, alpha: float) -> float:
        """Return the logarithm of a Gamma(alpha) number, by Marsaglia and Tsang."""
        d = (alpha + 1.0 if alpha < 1.0 else alpha) - 1.0 / 3.0
        c = 1.0 / math.sqrt(9.0 * d)
        log_boost = math.log(self.uniform()) / alpha if alpha < 1.0 else 0.0
        while True:
            x = self.normal()
            t = 1.0 + c * x
            if t <= 0.0:
                continue
            v = t * t * t
            if math.log(self.uniform()) < 0.5 * x * x + d - d * v + d * math.log(v):
                return math.log(d * v) + log_boost

    def gumbel(self, scale: float, size: int) -> NDArray[np.float32]:
        """Return Gumbel variables times a factor."""
        return np.array([scale * -math.log(-math.log(self.uniform())) for _ in range(size)], F32)

    def dirichlet(self, alpha: float, is_legal: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return Dirichlet noise over the legal actions, 0 elsewhere."""
        logs = [self.log_gamma(alpha) if legal else -math.inf for legal in is_legal]
        shares = [math.exp(log - max(logs)) for log in logs]
        total = 0.0
        for share in shares:  # not sum(): it compensates rounding errors from Python 3.12 on
            total += share
        return np.array([share / total for share in shares], dtype=F32)


def sum_in_lanes(numbers: Sequence[np.float32] | NDArray[np.float32]) -> np.float32:
    """Add number i to partial sum i % 8, then add the partial sums pairwise at distance 4, 2, 1."""
    partial = [F32(0)] * 8
    for i, number in enumerate(numbers):
        partial[i % 8] = partial[i % 8] + number
    four = [partial[i] + partial[i + 4] for i in range(4)]
    two = [four[i] + four[i + 2] for i in range(2)]
    return two[0] + two[1]


def exp_of_non_positive(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return exp(x) as the extension computes it: n ln 2 + r, Taylor polynomial in r, times 2^n."""
    x = np.maximum(x, F32(-87))
    n = np.rint(x * F32(math.log2(math.e)))
    r = (x - n * F32(0.693359375)) - n * F32(-2.12194440e-4)
    c = [F32(1) / F32(math.factorial(k)) for k in range(8)]
    r2 = r * r
    low = (r * c[3] + c[2]) * r2 + (r + F32(1))
    high = (r * c[7] + c[6]) * r2 + (r * c[5] + c[4])
    y = high * (r2 * r2) + low
    two_to_n: NDArray[np.float32] = np.ldexp(F32(1), n.astype(np.int32))
    return y * two_to_n


def softmax(logits: NDArray[np.float32], is_legal: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the softmax over legal actions, 0 elsewhere."""
    highest = logits[is_legal].max()
    with np.errstate(over="ignore"):
        shifted = np.minimum(logits - highest, F32(0))
    exps = np.where(is_legal, exp_of_non_positive(shifted), F32(0))
    return exps / sum_in_lanes(exps)

"""How a head represents a scalar: h(x), its inverse, and targets as categories or numbers.

Called by the network's users: search decodes a head's outputs, the loss compares them with scalars.
Knows no network. Formulas: MuZero, appendix F; h follows Pohlen et al. (2018).

A NaN stays a NaN in every function here: a diverged network has to be seen, not to read as zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

_EPSILON = 0.001


def transform(values: Tensor) -> Tensor:
    """Return h(x) = sign(x) (sqrt(|x| + 1) - 1) + 0.001 x, elementwise.

    Written as x / (sqrt(|x| + 1) + 1): the same function without the difference of near equals.
    """
    return values / ((values.abs() + 1.0).sqrt() + 1.0) + _EPSILON * values


def inverse_transform(transformed: Tensor) -> Tensor:
    """Return the x with h(x) = v, elementwise.

    With w = sqrt(|x| + 1) - 1, h(x) = v is a quadratic in w, whose root is taken in the form that
    does not cancel, and |x| = w (w + 2). Algebraically this is the textbook formula; in float32
    that one is off by 1e-4 near zero, which is why others round |x| < 0.001 to zero. Here no
    rounding is needed: small values keep six digits and zero is exactly zero.
    """
    magnitude = transformed.abs()
    slope = 1.0 + 2.0 * _EPSILON
    w = 2.0 * magnitude / (slope + (slope * slope + 4.0 * _EPSILON * magnitude).sqrt())
    return transformed.sign() * w * (w + 2.0)


class Transform(NamedTuple):
    """The space in which a head represents its scalar."""

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]


def _unchanged(values: Tensor) -> Tensor:
    return values


TRANSFORMS: dict[str, Transform] = {
    "sqrt": Transform(transform, inverse_transform),
    "identity": Transform(_unchanged, _unchanged),
}
"""By ``network.value_transform``."""


class ScalarSupport(nn.Module):
    """Categories -bound..bound in transformed space, one bin per integer.

    A module only so that its buffer follows the network's device; it has no state to save.
    """

    bins: Tensor  # i32 [2 * bound + 1]
    transform = TRANSFORMS["sqrt"]

    def __init__(self, bound: int) -> None:
        """Create ``num_bins = 2 * bound + 1`` bins.

        Args:
            bound: largest transformed magnitude; 300 stands for a raw 58,706.
        """
        super().__init__()
        if bound < 1:
            raise ValueError(f"support bound: got {bound}, wanted at least 1")
        self.bound = bound
        # Integers, because bfloat16 cannot hold 257 and .to(dtype) leaves integers alone.
        bins = torch.arange(-bound, bound + 1, dtype=torch.int32)
        self.register_buffer("bins", bins, persistent=False)

    @property
    def num_bins(self) -> int:
        """Number of categories."""
        return 2 * self.bound + 1

    def atoms(self) -> Tensor:
        """Return the bins, f32 [num_bins], ascending."""
        return self.bins.float()

    def encode(self, values: Tensor) -> Tensor:
        """Return the two-hot distributions of raw values.

        Args:
            values: f32 [...], raw scale; beyond the bound they count as the bound.

        Returns:
            f32 [..., num_bins], rows that sum to 1.
        """
        lower, upper_weight = self._neighbours(values)
        encoded = upper_weight.new_zeros((*values.shape, self.num_bins))
        encoded.scatter_(-1, lower.unsqueeze(-1), (1.0 - upper_weight).unsqueeze(-1))
        return encoded.scatter_(-1, lower.unsqueeze(-1) + 1, upper_weight.unsqueeze(-1))

    def decode(self, logits: Tensor) -> Tensor:
        """Return the raw value of the expected category, in float32 also under autocast.

        Args:
            logits: [..., num_bins].

        Returns:
            f32 [...], raw scale.
        """
        # A product and a sum, not a matmul: autocast or TF32 would round the matmul's operands.
        expected = (torch.softmax(logits.float(), dim=-1) * self.bins).sum(dim=-1)
        return inverse_transform(expected)

    def decode_into(self, logits: Tensor, values: Tensor) -> None:
        """Write what ``decode`` returns to ``values`` f32 [...]."""
        values.copy_(self.decode(logits))

    def loss(self, logits: Tensor, values: Tensor) -> Tensor:
        """Return -sum(encode(values) * log_softmax(logits)) without building either of them.

        Args:
            logits: [..., num_bins].
            values: f32 [...], raw scale (not encoded).

        Returns:
            f32 [...], nats.
        """
        check_shape(values, logits)
        logits = logits.float()
        lower, upper_weight = self._neighbours(values)
        at_both = logits.gather(-1, torch.stack([lower, lower + 1], dim=-1))  # [..., 2]
        at_target = torch.lerp(at_both[..., 0], at_both[..., 1], upper_weight)
        return torch.logsumexp(logits, dim=-1) - at_target

    @property
    def largest(self) -> float:
        """Largest raw magnitude that a target can have; beyond it targets count as the bound."""
        return float(inverse_transform(torch.tensor(float(self.bound), dtype=torch.float64)))

    def _neighbours(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lower bin's index, i64 [...], and the weight of the next, f32 [...]."""
        return self.neighbours(transform(values.float()))

    def neighbours(self, transformed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same of values f32 [...] in transformed space; see ``AtomSupport``."""
        transformed = transformed.clamp(-self.bound, self.bound)
        # The top bin is never "lower": the bound itself is bin bound - 1 with an upper weight of 1.
        lower = transformed.floor().clamp(max=self.bound - 1)
        # A NaN makes a valid index and a NaN weight, so that it comes out as a NaN.
        index = torch.nan_to_num(lower).long() + self.bound
        return index, transformed - lower


class ScalarRegression(nn.Module):
    """One number in transformed space instead of categories; takes the place of ScalarSupport."""

    num_bins = 1
    """Outputs of a head."""
    largest = math.inf
    """Largest raw magnitude that a target can have."""

    def __init__(self, transform: str = "sqrt") -> None:
        """Represent values in the space of this name in ``TRANSFORMS``."""
        super().__init__()
        self._transform = TRANSFORMS[transform]

    def decode(self, outputs: Tensor) -> Tensor:
        """Return the raw value of a head's output, in float32 also under autocast.

        Args:
            outputs: [..., 1].

        Returns:
            f32 [...], raw scale.
        """
        return self._transform.inverse(outputs.float().squeeze(-1))

    def decode_into(self, outputs: Tensor, values: Tensor) -> None:
        """Write what ``decode`` returns to ``values`` f32 [...]."""
        values.copy_(self.decode(outputs))

    def loss(self, outputs: Tensor, values: Tensor) -> Tensor:
        """Return (output - h(value))^2 / 2.

        Args:
            outputs: [..., 1].
            values: f32 [...], raw scale (not transformed).

        Returns:
            f32 [...].
        """
        return 0.5 * self.errors(outputs, values).square()

    def errors(self, outputs: Tensor, values: Tensor) -> Tensor:
        """Return output - h(value), f32 [...]; arguments as for ``loss``."""
        check_shape(values, outputs)
        return outputs.float().squeeze(-1) - self._transform.forward(values.float())


def check_shape(values: Tensor, outputs: Tensor) -> None:
    """Raise ValueError unless values [...] belong to outputs [..., bins]."""
    if values.shape != outputs.shape[:-1]:
        raise ValueError(
            f"values: got shape {tuple(values.shape)}, wanted {tuple(outputs.shape[:-1])}"
        )

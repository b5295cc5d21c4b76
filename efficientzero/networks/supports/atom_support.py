"""Categories with any spacing, and the choice of a network's representation of scalars."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from efficientzero.config import NetworkConfig
from efficientzero.networks.supports.scalar_support import (
    TRANSFORMS,
    ScalarRegression,
    ScalarSupport,
    check_shape,
)


class AtomSupport(nn.Module):
    """N atoms, evenly spaced over -bound..bound in transformed space.

    With the identity as transform and 51 atoms over -10..10 these are C51's (Bellemare, Dabney and
    Munos, 2017). ``ScalarSupport`` is the special case of one atom per integer under h(x), whose
    arithmetic is quicker. A module only so that its buffer follows the network's device.
    """

    indices: Tensor  # i32 [num_bins]

    def __init__(self, bound: int, num_bins: int, transform: str) -> None:
        """Create the atoms.

        Args:
            bound: largest transformed magnitude.
            num_bins: N, at least 2.
            transform: a name in ``TRANSFORMS``.
        """
        super().__init__()
        if bound < 1 or num_bins < 2:  # noqa: PLR2004  one atom has no spacing
            raise ValueError(
                f"atoms: got bound {bound} and {num_bins} atoms, wanted at least 1 and at least 2"
            )
        self.bound, self.num_bins = bound, num_bins
        self.spacing = 2.0 * bound / (num_bins - 1)
        """Distance of neighbouring atoms in transformed space."""
        self.transform = TRANSFORMS[transform]
        # Integers, because .to(dtype) rounds floats and leaves integers alone.
        indices = torch.arange(num_bins, dtype=torch.int32)
        self.register_buffer("indices", indices, persistent=False)

    @property
    def largest(self) -> float:
        """Largest raw magnitude that a target can have; beyond it targets count as the bound."""
        return float(self.transform.inverse(torch.tensor(float(self.bound), dtype=torch.float64)))

    def atoms(self) -> Tensor:
        """Return the atoms in transformed space, f32 [num_bins], ascending."""
        return self.indices * self.spacing - self.bound

    def encode(self, values: Tensor) -> Tensor:
        """Return the two-hot distributions f32 [..., num_bins] of raw values f32 [...]."""
        lower, upper_weight = self.neighbours(self.transform.forward(values.float()))
        encoded = upper_weight.new_zeros((*values.shape, self.num_bins))
        encoded.scatter_(-1, lower.unsqueeze(-1), (1.0 - upper_weight).unsqueeze(-1))
        return encoded.scatter_(-1, lower.unsqueeze(-1) + 1, upper_weight.unsqueeze(-1))

    def decode(self, logits: Tensor) -> Tensor:
        """Return the raw values f32 [...] of logits [..., num_bins].

        The expectation is taken in transformed space, as ``ScalarSupport`` does.
        """
        expected = (torch.softmax(logits.float(), dim=-1) * self.atoms()).sum(dim=-1)
        return self.transform.inverse(expected)

    def decode_into(self, logits: Tensor, values: Tensor) -> None:
        """Write what ``decode`` returns to ``values`` f32 [...]."""
        values.copy_(self.decode(logits))

    def loss(self, logits: Tensor, values: Tensor) -> Tensor:
        """Return -sum(encode(values) * log_softmax(logits)) in nats, f32 [...].

        Args:
            logits: [..., num_bins].
            values: f32 [...], raw scale (not encoded).
        """
        check_shape(values, logits)
        logits = logits.float()
        lower, upper_weight = self.neighbours(self.transform.forward(values.float()))
        at_both = logits.gather(-1, torch.stack([lower, lower + 1], dim=-1))  # [..., 2]
        at_target = torch.lerp(at_both[..., 0], at_both[..., 1], upper_weight)
        return torch.logsumexp(logits, dim=-1) - at_target

    def neighbours(self, transformed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lower atom's index, i64 [...], and the weight of the next, f32 [...]."""
        places = (transformed.clamp(-self.bound, self.bound) + self.bound) / self.spacing
        # The top atom is never "lower": the bound is the last but one with an upper weight of 1.
        lower = places.floor().clamp(max=self.num_bins - 2)
        # A NaN makes a valid index and a NaN weight, so that it comes out as a NaN.
        return torch.nan_to_num(lower).long(), places - lower


ValueSupport = ScalarSupport | AtomSupport | ScalarRegression
"""How a network represents scalars."""


Categories = ScalarSupport | AtomSupport
"""Representations by categories, whose probabilities can stand for a distribution of returns."""


def project(support: Categories, logits: Tensor, returns: Tensor, discounts: Tensor) -> Tensor:
    """Return the distribution of R + discount * Z on the support's atoms, Z that of the logits.

    Each atom's probability moves with it and is split between its two new neighbours (Bellemare,
    Dabney and Munos, 2017, equation 7), here in transformed space: atom z moves to
    h(R + discount * h^-1(z)). Beyond the bounds it counts as the bound.

    Args:
        support: of the logits and of the result.
        logits: [..., num_bins] of Z.
        returns: f32 [...] rewards before Z, raw scale.
        discounts: f32 [...]; 0: all probability lies at R.

    Returns:
        f32 [..., num_bins], rows that sum to 1.
    """
    check_shape(returns, logits)
    raw = support.transform.inverse(support.atoms())
    moved = support.transform.forward(
        returns.float().unsqueeze(-1) + discounts.float().unsqueeze(-1) * raw
    )
    lower, upper_weight = support.neighbours(moved)
    probabilities = torch.softmax(logits.float(), dim=-1)
    projected = torch.zeros_like(probabilities)
    projected.scatter_add_(-1, lower, probabilities * (1.0 - upper_weight))
    return projected.scatter_add_(-1, lower + 1, probabilities * upper_weight)


def distribution_loss(logits: Tensor, distributions: Tensor) -> Tensor:
    """Return the cross-entropy of logits [..., bins] with distributions f32 [..., bins], nats."""
    return -(distributions * torch.log_softmax(logits.float(), dim=-1)).sum(-1)


def make_support(config: NetworkConfig) -> ValueSupport:
    """Return the representation that the config chooses."""
    if not config.categorical_values:
        return ScalarRegression(config.value_transform)
    bound = config.support_bound
    if config.value_transform == "sqrt" and config.support_bins in (0, 2 * bound + 1):
        return ScalarSupport(bound)
    return AtomSupport(bound, config.support_bins or 2 * bound + 1, config.value_transform)

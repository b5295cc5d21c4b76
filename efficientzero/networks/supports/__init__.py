"""How a network's heads represent scalars, and distributions of them."""

from efficientzero.networks.supports.atom_support import (
    AtomSupport,
    ValueSupport,
    distribution_loss,
    make_support,
    project,
)
from efficientzero.networks.supports.scalar_support import ScalarRegression, ScalarSupport

__all__ = [
    "AtomSupport",
    "ScalarRegression",
    "ScalarSupport",
    "ValueSupport",
    "distribution_loss",
    "make_support",
    "project",
]

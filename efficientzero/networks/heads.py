"""Which heads a network has: those that search reads, and those that only training calls.

``make_network`` builds by these; publishing, folding, forking and adopting another run's weights
use it to find the entries of a ``state_dict`` that only training needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from efficientzero.config import Config, NetworkConfig
from efficientzero.networks.blocks import make_predictor, make_projector


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """What a network has beyond rewards, values and policies; search reads all of it."""

    value_prefix: bool
    """Reward sums by an LSTM; off: each step's reward, and the LSTM states have no entries."""
    auxiliary_values: int = 0
    """Values of further horizons, one for each of ``agent.auxiliary_discounts``: H."""
    planning_horizon: int = 0
    """Whose values trees take: 0, the value head's; h, the h-th auxiliary ones."""
    other_horizon_weight: float = 0.0
    """What the value head's values count beside those."""


class AuxiliaryHead(NamedTuple):
    """A head that only its own loss uses."""

    coefficient: str
    """The field of ``learner`` that is above 0 where the head is needed."""
    make: Callable[[NetworkConfig, tuple[int, ...]], nn.Module]
    """Builds the head from the network's sizes and the shape of a latent."""


def _projector(config: NetworkConfig, latent_shape: tuple[int, ...]) -> nn.Module:
    return make_projector(
        math.prod(latent_shape),
        hidden_size=config.projector_hidden_size,
        out_size=config.projection_size,
        momentum=config.batch_norm_momentum,
    )


def _predictor(config: NetworkConfig, latent_shape: tuple[int, ...]) -> nn.Module:
    del latent_shape
    return make_predictor(
        config.projection_size,
        hidden_size=config.predictor_hidden_size,
        momentum=config.batch_norm_momentum,
    )


AUXILIARY_HEADS: dict[str, AuxiliaryHead] = {
    "projector": AuxiliaryHead("consistency_coefficient", _projector),
    "predictor": AuxiliaryHead("consistency_coefficient", _predictor),
}
"""By name. They are built in this order after all other modules, so that these start from the same
numbers with and without; new rows go to the end."""


def heads_of(config: Config) -> Heads:
    """Return the heads that search reads in a run of ``config``."""
    return Heads(
        value_prefix=config.agent.value_prefix,
        auxiliary_values=len(config.agent.auxiliary_discounts),
        planning_horizon=config.search.planning_horizon,
        other_horizon_weight=config.search.other_horizon_weight,
    )


def auxiliary_heads_of(config: Config) -> tuple[str, ...]:
    """Return the names of the heads that only the learner of a run of ``config`` has."""
    return tuple(
        name
        for name, head in AUXILIARY_HEADS.items()
        if getattr(config.learner, head.coefficient) > 0
    )


def training_only(names: Iterable[str]) -> list[str]:
    """Return those of a network's entries, by their names, that actors and reanalyzers lack."""
    return [name for name in names if name.split(".", 1)[0] in AUXILIARY_HEADS]


def inference_entries(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of a ``state_dict`` that search needs."""
    left_out = set(training_only(state))
    return {name: tensor for name, tensor in state.items() if name not in left_out}

"""Which heads a network has: those that search reads, and those that only training calls.

``make_network`` builds by these; publishing, folding, forking and adopting another run's weights
use it to find the entries of a ``state_dict`` that only training needs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from torch import Tensor, nn

from efficientzero.config import Config, NetworkConfig, has_action_values
from efficientzero.networks.blocks import make_predictor, make_projector
from efficientzero.networks.decoder import make_decoder
from efficientzero.schema import EnvSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """What a network has beyond rewards, values and policies; search reads all of it."""

    value_prefix: bool
    """Reward sums by an LSTM; off: each step's reward, and the LSTM states have no entries."""
    action_values: bool = False
    """Q(s, a) of every action."""
    value: Literal["state", "max_action"] = "state"
    """What a state is worth: V(s), or the largest Q(s, a)."""
    is_dueling: bool = False
    """Action values are sums of a state's value and of advantages."""
    noisy_sigma: float = 0.0
    """Scale of the noise in the layers of the head for action values; 0: plain layers."""
    auxiliary_values: int = 0
    """Values of further horizons, one for each of ``agent.auxiliary_discounts``: H."""
    planning_horizon: int = 0
    """Whose values trees take: 0, the value head's; h, the h-th auxiliary ones."""
    other_horizon_weight: float = 0.0
    """Weight of the value head's values, which are added to those."""
    q_temperature: float | None = None
    """None: priors are the policy head's; else softmax(Q(s, .) / this)."""


class SearchNetwork(Protocol):
    """The parts of a network that auxiliary heads are built from."""

    spec: EnvSpec
    latent_shape: tuple[int, ...]
    representation: nn.Module
    projector: nn.Module
    """Only where a head before built it."""


class AuxiliaryHead(NamedTuple):
    """A head that only its own loss uses."""

    coefficient: str
    """The field of ``learner`` that is above 0 where the head is needed."""
    make: Callable[[NetworkConfig, SearchNetwork], nn.Module]
    """Builds the head from the network's sizes and what is built of it already."""
    consistency: str = ""
    """The only value of ``learner.consistency`` that needs the head; empty: all do."""
    is_forked: bool = True
    """Whether a run that takes another's weights takes this head's, if it has them; else it starts
    new."""
    is_average: bool = False
    """Whether it is an average of weights that another run has: it cannot start new there."""


def _projector(config: NetworkConfig, network: SearchNetwork) -> nn.Module:
    return make_projector(
        math.prod(network.latent_shape),
        hidden_size=config.projector_hidden_size,
        out_size=config.projection_size,
        momentum=config.batch_norm_momentum,
    )


def _predictor(config: NetworkConfig, network: SearchNetwork) -> nn.Module:
    del network
    return make_predictor(
        config.projection_size,
        hidden_size=config.predictor_hidden_size,
        momentum=config.batch_norm_momentum,
    )


def _average(module: nn.Module) -> nn.Module:
    """Return a copy that the optimiser leaves alone: its loss moves it after ``module``."""
    return copy.deepcopy(module).requires_grad_(False)


AUXILIARY_HEADS: dict[str, AuxiliaryHead] = {
    "projector": AuxiliaryHead("consistency_coefficient", _projector),
    "predictor": AuxiliaryHead("consistency_coefficient", _predictor),
    "momentum_representation": AuxiliaryHead(
        "consistency_coefficient",
        lambda config, network: _average(network.representation),
        consistency="spr",
        is_average=True,
    ),
    "momentum_projector": AuxiliaryHead(
        "consistency_coefficient",
        lambda config, network: _average(network.projector),
        consistency="spr",
    ),
    "contrast_projector": AuxiliaryHead("consistency_coefficient", _projector, consistency="nce"),
    "decoder": AuxiliaryHead(
        "reconstruction_coefficient",
        lambda config, network: make_decoder(config, network.spec, network.latent_shape),
        is_forked=False,
    ),
}
"""By name. They are built in this order after all other modules, so that these start from the same
numbers with and without; new rows go to the end."""


def heads_of(config: Config) -> Heads:
    """Return the heads that search reads in a run of ``config``."""
    agent, search = config.agent, config.search
    network, by_action = config.network, agent.value_function == "action"
    return Heads(
        value_prefix=agent.value_prefix,
        action_values=has_action_values(config),
        value="max_action" if by_action else "state",
        auxiliary_values=len(agent.auxiliary_discounts),
        planning_horizon=search.planning_horizon,
        other_horizon_weight=search.other_horizon_weight,
        q_temperature=search.q_temperature if search.prior == "action_values" else None,
        is_dueling=network.dueling,
        noisy_sigma=network.noisy_sigma if network.noisy_heads else 0.0,
    )


def auxiliary_heads_of(config: Config) -> tuple[str, ...]:
    """Return the names of the heads that only the learner of a run of ``config`` has."""
    return tuple(
        name
        for name, head in AUXILIARY_HEADS.items()
        if getattr(config.learner, head.coefficient) > 0
        and head.consistency in ("", config.learner.consistency)
    )


def training_only(names: Iterable[str]) -> list[str]:
    """Return those of a network's entries, by their names, that actors and reanalyzers lack."""
    return [name for name in names if name.split(".", 1)[0] in AUXILIARY_HEADS]


def new_in_forks(names: Iterable[str], theirs: Iterable[str]) -> list[str]:
    """Return those of a network's entries that do not come from another run.

    Args:
        names: of the network's entries.
        theirs: of the other network's. An auxiliary head that it lacks starts new.
    """
    there = {name.split(".", 1)[0] for name in theirs}
    heads = {name for name, head in AUXILIARY_HEADS.items() if not head.is_forked}
    heads |= AUXILIARY_HEADS.keys() - there
    return [name for name in training_only(names) if name.split(".", 1)[0] in heads]


def inference_entries(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of a ``state_dict`` that search needs."""
    left_out = set(training_only(state))
    return {name: tensor for name, tensor in state.items() if name not in left_out}

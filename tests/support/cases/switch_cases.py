"""One row for each switch of an agent, and the smallest agent to try them on."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from efficientzero.config import Config, load_preset
from tests.support.cases.config_cases import changed

Fields = Mapping[str, Any]
"""Dotted fields and their values."""


class Switch(NamedTuple):
    """A choice that an agent can make."""

    name: str
    own: Fields
    """What makes the choice."""
    needs: Fields = MappingProxyType({})
    """Without which it is refused alone."""


ACTION_VALUES = {"agent.value_function": "action"}
LOCAL = {"learner.target_network": "local"}
C51 = {"agent.value_distribution": "categorical", **LOCAL}
NO_SEARCH = {
    **ACTION_VALUES,
    "actor.action_rule": "epsilon_greedy",
    "learner.policy_coefficient": 0.0,
}
NOISY = {**NO_SEARCH, "search.num_simulations": 0}
NO_MODEL = {
    **NOISY,
    "agent.value_prefix": False,
    "learner.consistency_coefficient": 0.0,
}
DISTILLED = {"learner.action_value_coefficient": 1.0}
RECONSTRUCTION = {
    "learner.reconstruction_coefficient": 1.0,
    "learner.reconstruction_train_steps": 1,
}
SWITCHES = (
    # Searches.
    Switch("gumbel", {"search.algorithm": "gumbel"}),
    Switch(
        "gumbel by the tree's range",
        {"search.algorithm": "gumbel", "search.gumbel_q_range": "tree"},
    ),
    *(
        Switch(rule, {"search.improved_policy": rule})
        for rule in ("completed_q", "softmax_q")  # the others read the same numbers
    ),
    Switch("priors from action values", {"search.prior": "action_values"}, DISTILLED),
    Switch("searches with Q", {"search.prior": "action_values"}, {**ACTION_VALUES, **LOCAL}),
    Switch("no search", {"search.num_simulations": 0}, NO_SEARCH),
    Switch("known bounds of Q", {"search.q_bounds": (-1.0, 1.0)}),
    # Acting.
    Switch("no temperature late in episodes", {"actor.temperature_plies": 1}),
    Switch("epsilon-greedy", {"actor.action_rule": "epsilon_greedy"}),
    Switch("plays its policy", {"actor.action_rule": "policy"}),
    # Value targets.
    Switch("values of searches", {"reanalyzer.value_target": "search"}),
    Switch(
        "mixed values",
        {
            "reanalyzer.value_target": "mixed",
            "reanalyzer.mixed_start_train_steps": 0,
            "reanalyzer.mixed_fresh_env_steps": 50,
        },
    ),
    Switch("td_lambda", {"reanalyzer.value_target": "td_lambda"}),
    Switch("v_trace", {"reanalyzer.value_target": "v_trace"}),
    Switch("retrace", {"reanalyzer.value_target": "retrace"}, ACTION_VALUES),
    Switch(
        "planning with a horizon",
        {"search.planning_horizon": 1, "search.other_horizon_weight": 0.5},
        {"agent.auxiliary_discounts": (0.8, 0.5)},
    ),
    Switch("bootstrap by search", {"reanalyzer.value_bootstrap": "search"}),
    Switch(
        "bootstrap by action values", {"reanalyzer.value_bootstrap": "max_action_value"}, DISTILLED
    ),
    Switch("targets at the learner", LOCAL),
    Switch("double Q", {"agent.double_q": True}, {**ACTION_VALUES, **LOCAL}),
    Switch("stored policies", {"reanalyzer.policy_reanalyze_ratio": 0.0}),
    # The network and its losses.
    Switch("action values", ACTION_VALUES),
    Switch("C51", {"agent.value_distribution": "categorical"}, LOCAL),
    Switch("dueling", {"network.dueling": True}, ACTION_VALUES),
    Switch("noisy heads", {"network.noisy_heads": True}, NOISY),
    Switch("no model", {"agent.num_unroll_steps": 0}, NO_MODEL),
    Switch("no categories", {"network.categorical_values": False}),
    Switch("no consistency", {"learner.consistency_coefficient": 0.0}),
    Switch("no policy loss", {"learner.policy_coefficient": 0.0}),
    Switch("no value prefix loss", {"learner.value_prefix_coefficient": 0.0}),
    Switch("atoms", {"network.support_bins": 7, "network.value_transform": "identity"}),
    Switch("Huber", {"learner.huber_delta": 1.0}, {"network.categorical_values": False}),
    Switch("SPR", {"learner.consistency": "spr"}),
    Switch("NCE", {"learner.consistency": "nce"}),
    Switch("early reconstruction", RECONSTRUCTION),
    Switch("action values by searches", DISTILLED),
    Switch("their softmax", {"learner.action_value_loss": "softmax"}, DISTILLED),
    Switch("stops on collapse", {"learner.stop_on_collapse": True}),
    # Replay.
    Switch("KL priorities", {"replay.priority": "kl"}, C51),
    Switch("first priorities", {"replay.initial_priority": "value_error"}),
    Switch("fresh priorities", {"replay.priority_refresh_share": 0.25}),
)


def smallest_agent() -> Config:
    """Return Catch with an MLP of a few hundred weights and two train_steps of 8 slices."""
    return changed(
        load_preset("catch"),
        {
            "budget.env_steps": 100,
            "budget.warmup_env_steps": 10,
            "budget.train_steps": 1,
            "budget.last_train_steps": 1,
            "agent.num_unroll_steps": 2,
            "agent.value_prefix_horizon": 2,
            "agent.td_steps": 2,
            "network.channels": 2,
            "network.mlp_latent_size": 6,
            "network.mlp_hidden_size": 8,
            "network.head_hidden_size": 5,
            "network.lstm_hidden_size": 4,
            "network.projector_hidden_size": 6,
            "network.projection_size": 6,
            "network.predictor_hidden_size": 4,
            "network.zero_init_heads": False,
            "search.num_simulations": 3,
            "search.inference_backend": "eager",  # recording takes longer than two train_steps
            "actor.num_envs": 4,
            "reanalyzer.policy_reanalyze_ratio": 1.0,
            "reanalyzer.search_batch_size": 32,
            "learner.batch_size": 8,
            "learner.publish_interval": 1,
            "learner.target_interval": 1,
            "learner.log_interval": 2,
            "learner.lr_warmup_fraction": 0.0,
        },
    )


def pairs() -> list[tuple[str, dict[str, Any]]]:
    """Return a name and the dotted fields of each switch alone and of each pair of them.

    Two values of one field are no pair. What a switch chooses counts more than what the other one
    needs; where both need one field otherwise, each need is tried.
    """
    found = [(switch.name, {**switch.needs, **switch.own}) for switch in SWITCHES]
    for one, other in itertools.combinations(SWITCHES, 2):
        if _differ(one.own, other.own):
            continue
        name, own = f"{one.name} + {other.name}", {**one.own, **other.own}
        found.append((name, {**one.needs, **other.needs, **own}))
        if _differ(one.needs, other.needs):
            found.append((f"{other.name} + {one.name}", {**other.needs, **one.needs, **own}))
    return found


def _differ(one: Fields, other: Fields) -> bool:
    return any(one[key] != other[key] for key in one.keys() & other)

"""The wandb group of a config: what names it, and what matters most where not all can be named.

Called by ``prepare``. Pure.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from deploy.launching.components import COMPONENTS
from efficientzero.config import (
    COMPAT_GROUPS,
    PRESETS,
    SEARCHED_VALUE_TARGETS,
    Config,
    experiment_values,
    is_turn_game,
    load_preset,
)
from efficientzero.runs.lineage import Lineage
from efficientzero.runs.name_parts import canonical
from efficientzero.runs.naming import Treatment, group_name

_FROZEN_BUDGET = ("budget.env_steps", "budget.warmup_env_steps")
"""Fields that the frozen replay decides."""

_ABLATED = [key for fields in COMPONENTS.values() for key in fields]

_SECTIONS = (
    *("lineage", "agent", "search", "learner", "reanalyzer", "replay", "actor", "cluster"),
    *("network", "env", "compat", "budget", "evaluator", "league"),
)
"""Parts of the config, first those in which experiments differ most often."""

Values = Mapping[str, Any]


def _searches(values: Values) -> bool:
    """Return whether any role has trees: an agent without a search may be evaluated with one."""
    counts = ("search.num_simulations", "reanalyzer.search_simulations", "evaluator.simulations")
    return any(values[count] for count in counts)


def _draws_by_visits(values: Values) -> bool:
    """Return whether actors play by visits: the words of ``plays_by``, and there are visits."""
    rule = values["actor.action_rule"]
    by_visits = rule == "visits" or (rule == "auto" and values["search.algorithm"] == "puct")
    return by_visits and bool(values["search.num_simulations"])


def _trains_towards_searches(values: Values) -> bool:
    """Return whether a loss reads what fresh searches find."""
    return bool(values["learner.policy_coefficient"] or values["learner.action_value_coefficient"])


_USED_IF: dict[tuple[str, ...], Callable[[Values], bool]] = {
    (
        *("search.root_dirichlet_", "search.root_exploration_", "search.unvisited_q"),
    ): lambda values: values["search.algorithm"] == "puct",
    ("search.gumbel_q_range",): lambda values: (
        values["search.algorithm"] == "gumbel" and values["search.normalize_q"]
    ),
    ("search.q_bounds",): lambda values: (
        values["search.algorithm"] == "puct" or values["search.gumbel_q_range"] == "tree"
    ),
    ("network.action_value_hidden_size",): (
        lambda values: (
            values["agent.value_function"] == "action" or values["learner.action_value_coefficient"]
        )
    ),
    ("learner.action_value_loss",): lambda values: values["learner.action_value_coefficient"],
    ("search.pb_c_",): lambda values: (
        values["search.algorithm"] == "puct" or values["search.improved_policy"] == "regularized"
    ),
    ("search.value_delta_max",): lambda values: (
        values["search.algorithm"] == "puct"
        or values["search.improved_policy"] != "algorithm"
        or values["search.gumbel_q_range"] == "tree"
    ),
    ("search.gumbel_max_considered_",): lambda values: values["search.algorithm"] == "gumbel",
    ("search.gumbel_maxvisit_", "search.gumbel_value_"): lambda values: (
        values["search.algorithm"] == "gumbel" or values["search.improved_policy"] == "completed_q"
    ),
    ("search.q_temperature",): lambda values: (
        not values["search.num_simulations"]
        or values["search.improved_policy"] == "softmax_q"
        or values["search.prior"] == "action_values"
        or (
            values["reanalyzer.value_target"] == "retrace"
            and values["reanalyzer.target_policy"] == "policy"
        )
        or (
            values["learner.action_value_coefficient"]
            and values["learner.action_value_loss"] == "softmax"
        )
    ),
    ("search.mellowmax_",): lambda values: values["search.improved_policy"] == "mellowmax",
    ("learner.trust_coefficient",): lambda values: values["learner.optimizer"] == "lars",
    ("learner.huber_delta",): lambda values: not values["network.categorical_values"],
    ("network.noisy_sigma",): lambda values: values["network.noisy_heads"],
    ("network.support_b",): lambda values: values["network.categorical_values"],
    ("learner.average_for",): lambda values: values["learner.average_decay"],
    ("actor.epsilon_",): lambda values: values["actor.action_rule"] == "epsilon_greedy",
    ("actor.random_action_repeat",): lambda values: values["actor.random_action_share"],
    ("learner.momentum",): lambda values: values["learner.optimizer"] != "adamw",
    ("agent.value_prefix_horizon", "network.lstm_hidden_size"): (
        lambda values: values["agent.value_prefix"]
    ),
    ("reanalyzer.off_policy_tau",): lambda values: values["reanalyzer.off_policy_correction"],
    (
        *("learner.shift_pixels", "learner.intensity_scale", "learner.independent_augmentation"),
    ): lambda values: values["learner.augmentation"],
    (
        *("network.projector_", "network.projection_", "network.predictor_"),
        *("learner.consistency", "learner.momentum_tau", "learner.nce_"),
    ): lambda values: values["learner.consistency_coefficient"],
    ("learner.momentum_tau",): lambda values: values["learner.consistency"] == "spr",
    ("learner.nce_",): lambda values: values["learner.consistency"] == "nce",
    ("learner.reconstruction_train_steps", "network.decoder_channels"): (
        lambda values: values["learner.reconstruction_coefficient"]
    ),
    ("reanalyzer.mixed_",): lambda values: values["reanalyzer.value_target"] == "mixed",
    ("learner.auxiliary_value_coefficient",): lambda values: values["agent.auxiliary_discounts"],
    ("search.other_horizon_weight",): lambda values: values["search.planning_horizon"],
    ("reanalyzer.td_lambda",): (
        lambda values: values["reanalyzer.value_target"] in {"td_lambda", "v_trace", "retrace"}
    ),
    ("reanalyzer.target_policy",): (lambda values: values["reanalyzer.value_target"] == "retrace"),
    ("reanalyzer.rho_clip", "reanalyzer.c_clip"): (
        lambda values: values["reanalyzer.value_target"] == "v_trace"
    ),
    ("env.atari.",): lambda values: values["env.id"].startswith("ALE/"),
    ("league.",): lambda values: is_turn_game(values["env.id"]),
    (
        *("league.snapshot_interval", "league.capacity", "league.sampling", "league.power"),
        *("league.uniform_share", "league.baseline_share", "league.ladder_games"),
    ): lambda values: values["league.pool_share"],
    ("league.power",): lambda values: values["league.sampling"] == "pfsp_hard",
    (
        *("search.root_", "search.pb_c_", "search.unvisited_q", "search.gumbel_"),
        *("search.prior", "search.num_threads", "compat.stale_prefix_bounds"),
        *("compat.recomputed_bounds", "compat.root_visit_without_value"),
        "compat.random_first_child",
    ): _searches,
    ("search.normalize_q", "search.value_delta_max"): (
        lambda values: _searches(values) or values["search.improved_policy"] != "algorithm"
    ),
    ("actor.temperatures", "actor.temperature_fractions"): _draws_by_visits,
    ("reanalyzer.policy_reanalyze_ratio",): _trains_towards_searches,
    ("reanalyzer.search_simulations",): lambda values: (
        (_trains_towards_searches(values) and values["reanalyzer.policy_reanalyze_ratio"])
        or values["reanalyzer.value_bootstrap"] == "search"
        or values["reanalyzer.value_target"] in SEARCHED_VALUE_TARGETS
    ),
    ("learner.value_prefix_coefficient", "compat.gradient_scaling"): (
        lambda values: values["agent.num_unroll_steps"]
    ),
}
"""Fields that nothing reads unless the others' values say so; with "_" or "." at the end: all that
begin so."""


def run_group(config: Config, lineage: Lineage | None = None) -> str:
    """Name the wandb group: environment, nearest preset, and what differs from that.

    What a run began with is named by its content: runs forked from the same snapshot share it.

    Raises:
        ValueError: a suffix that is too long.
    """
    values, tracking = experiment_values(config), config.tracking
    if lineage is not None:
        implied = _FROZEN_BUDGET if lineage.is_frozen else ()
        values = {key: value for key, value in values.items() if key not in implied}
        values |= lineage.values
    bundles = {
        f"compat={name}": {
            f"compat.{key}": value for key, value in dataclasses.asdict(group).items()
        }
        for name, group in COMPAT_GROUPS.items()
    }
    return group_name(
        config.env.id,
        values,
        preset_values(),
        tracking.group_suffix,
        bundles,
        importance=by_importance(values),
        treatment=Treatment(arm=tracking.arm, ablated=tracking.ablated, varied=tracking.varied),
    )


def by_importance(values: Values) -> list[str]:
    """Return the fields of a config, those first that matter most for a result.

    What the ablations of papers take away, then agent, search, learner and so on; budgets and
    evaluator, and at the very end what cannot change a result under the other values.
    """

    def rank(key: str) -> tuple[bool, bool, int]:
        is_ablated = key in _ABLATED
        place = _ABLATED.index(key) if is_ablated else _SECTIONS.index(key.partition(".")[0])
        return not is_used(key, values), not is_ablated, place

    return sorted(values, key=rank)


def is_used(key: str, values: Values) -> bool:
    """Return whether an agent of these values, dotted, can depend on the field ``key``."""
    return all(
        bool(is_read(values))
        for fields, is_read in _USED_IF.items()
        if key in fields or key.startswith(tuple(f for f in fields if f.endswith(("_", "."))))
    )


def distance_from_presets(values: Values) -> int:
    """Return in how many fields a config, dotted, differs from the preset nearest to it."""
    return min(
        len([k for k in preset if k in values and canonical(values[k]) != canonical(preset[k])])
        for preset in preset_values().values()
    )


@functools.cache
def preset_values() -> dict[str, dict[str, Any]]:
    """Return what makes the experiment of each preset, by name, dotted."""
    return {name: experiment_values(load_preset(name)) for name in PRESETS}

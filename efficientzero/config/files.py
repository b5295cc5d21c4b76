"""Configs on disk: presets, JSON, hashes.

Called by the launcher and by ``run_folder`` (read back). Conversion and type
checks are pydantic's; only the naming of the nearest known key is ours.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from efficientzero.config.fields import Config
from efficientzero.config.spelling import nearest

_NOT_IN_HASH = ("seed", "cluster", "tracking", "preset")
"""Top-level keys that do not change results, or only repeat other keys."""

_ONLY_SPEED = (
    "search.inference_backend",
    "search.num_threads",
    "actor.pipeline",
    "learner.num_devices",
    "learner.compile",
)
"""Dotted keys that change how results are computed, not the results."""

_ONLY_RECORDS = (
    "learner.log_interval",
    "learner.checkpoint_interval",
    "learner.checkpoints_kept",
)
"""Dotted keys that choose which data of a run is kept."""

_LATER_NAMED = {
    "agent.auxiliary_discounts": (),
    "agent.value_function": "state",
    "evaluator.simulations": 0,
    "evaluator.epsilon": 0.0,
    "network.action_value_hidden_size": 0,
    "network.decoder_channels": 32,
    "actor.action_rule": "auto",
    "actor.epsilon_start": 1.0,
    "actor.epsilon_end": 0.01,
    "actor.epsilon_fraction": 0.1,
    "search.planning_horizon": 0,
    "search.other_horizon_weight": 0.0,
    "search.prior": "policy",
    "search.improved_policy": "algorithm",
    "search.q_temperature": 0.25,
    "search.mellowmax_omega": 5.0,
    "reanalyzer.td_lambda": 0.95,
    "reanalyzer.rho_clip": 1.0,
    "reanalyzer.c_clip": 1.0,
    "learner.auxiliary_value_coefficient": 0.25,
    "learner.action_value_coefficient": 0.0,
    "learner.action_value_loss": "regression",
    "learner.consistency": "simsiam",
    "learner.momentum_tau": 0.99,
    "learner.nce_temperature": 0.1,
    "learner.nce_same_episode_negatives": False,
    "network.value_transform": "sqrt",
    "network.support_bins": 0,
    "learner.huber_delta": 0.0,
    "learner.target_network": "reanalyzer",
    "network.dueling": False,
    "network.noisy_heads": False,
    "network.noisy_sigma": 0.5,
    "agent.double_q": False,
    "agent.value_distribution": "two_hot",
    "replay.priority": "value_error",
    "learner.reconstruction_coefficient": 0.0,
    "learner.reconstruction_train_steps": 0,
    "reanalyzer.target_policy": "policy",
    "search.sampled_actions": 16,
    "search.q_bounds": (),
    "actor.temperature_plies": 0,
    "league.baselines": ("random",),
    "env.legal_actions": "auto",
    "learner.stop_on_collapse": False,
    "search.sampled_inner_actions": 2,
    "search.sampled_prior": "uniform",
    "search.sampled_gumbel_noise": False,
    "search.sampled_wide_factor": 3.0,
    "network.action_embedding_size": 64,
    "learner.continuous_policy_loss": "auto",
    "learner.entropy_coefficient": 0.0,
    "search.gumbel_q_range": "node",
    "league.pool_share": 0.0,
    "league.snapshot_interval": 1_000,
    "league.capacity": 20,
    "league.sampling": "pfsp_hard",
    "league.power": 2.0,
    "league.uniform_share": 0.1,
    "league.baseline_share": 0.0,
    "league.ladder_games": 0,
}
"""Append new fields, with their defaults: names that earlier fields have in groups stay theirs."""

LATER_NAMED_FIELDS = tuple(_LATER_NAMED)
"""In the order in which they were added."""

_NOT_IN_OLDER_HASHES = {
    "env.action_repeat": 1,
    "budget.schedule_train_steps": 0,
    "compat.recomputed_bounds": False,
    "compat.warmup_earns_train_steps": False,
    "network.downsample": 0,
    "network.norm": "batch",
    "network.trunk": "auto",
    "actor.random_action_share": 0.0,
    "actor.random_action_repeat": False,
    "search.root_policy_temperature": 1.0,
    "reanalyzer.value_target": "td",
    "reanalyzer.mixed_start_train_steps": 40_000,
    "reanalyzer.mixed_fresh_env_steps": 20_000,
    "reanalyzer.search_simulations": 0,
    "learner.average_decay": 0.0,
    "learner.average_for": "acting",
    **_LATER_NAMED,
}
"""Fields added later, with their defaults; a default is left out, so that old hashes stay."""

REMOVED_FIELDS = {
    "replay.num_shards": (
        1,
        "several replay services were removed, because one takes 64,000 env_steps/s",
    ),
}
"""Fields of earlier versions: the value that older runs may have, and why the field is gone."""

_FREE_TABLES = ("env.kwargs",)
"""Dotted keys of tables whose keys are the user's."""

_PROCESS_COUNTS = ("cluster.num_actors", "cluster.num_reanalyzers")
"""Not in the hash: a run may continue with other numbers. They shift the age of data and targets.
"""

_ADAPTER = TypeAdapter(Config)


class ConfigError(ValueError):
    """A config that cannot be run; the message says what was got and what was wanted."""


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return ``config`` as nested dicts of JSON values."""
    return dataclasses.asdict(config)


def config_from_dict(values: Mapping[str, Any]) -> Config:
    """Build a Config from nested dicts; keys left out keep their defaults.

    Raises:
        ConfigError: an unknown key (the nearest known one is named) or a value of a wrong type.
    """
    known = config_to_dict(Config())
    values = _without_removed(values)
    _check_keys(values, known, "")
    try:
        return _ADAPTER.validate_json(json.dumps(_with_whole_numbers(values, known)), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{key}: got {first['input']!r}, wanted: {first['msg']}") from None


def _without_removed(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leave out removed fields whose value gives the behaviour of today.

    Raises:
        ConfigError: one has another value.
    """
    kept = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key not in REMOVED_FIELDS:
            is_part = isinstance(value, Mapping) and key not in _FREE_TABLES
            kept[name] = _without_removed(value, f"{key}.") if is_part else value
        elif value != REMOVED_FIELDS[key][0] or isinstance(value, bool):
            allowed, reason = REMOVED_FIELDS[key]
            raise ConfigError(f"{key}: got {value!r}, wanted {allowed} or no such field: {reason}")
    return kept


def whole(value: Any, like: object) -> Any:  # noqa: ANN401  any value of a config
    """Return ``value``, as an int if ``like`` is one and it is a whole float: TOML's 1e5."""
    is_whole = isinstance(value, float) and value.is_integer() and type(like) is int
    return int(value) if is_whole else value


def _with_whole_numbers(values: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Apply ``whole`` to each field; fields without a default stay as they are."""

    def converted(key: str, value: Any) -> Any:  # noqa: ANN401  any value of a config
        like = known.get(key)
        if isinstance(value, Mapping) and isinstance(like, Mapping):
            return _with_whole_numbers(value, like)
        return whole(value, like)

    return {key: converted(key, value) for key, value in values.items()}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dicts as one dict with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def hyperparameters(config: Config) -> dict[str, Any]:
    """Return the dotted values that can change results (no seed, processes, logging)."""
    values = {k: v for k, v in config_to_dict(config).items() if k not in _NOT_IN_HASH}
    return {k: v for k, v in flatten(values).items() if k not in _ONLY_SPEED + _ONLY_RECORDS}


def experiment_values(config: Config) -> dict[str, Any]:
    """Return the values in a group's name: hyperparameters, numbers of actors and reanalyzers.

    Removed fields are included with the only value still allowed: they influence the short names of
    the others, and older runs are compared by them.
    """
    flat = flatten(config_to_dict(config))
    removed = {key: value for key, (value, _) in REMOVED_FIELDS.items()}
    return {**removed, **hyperparameters(config), **{key: flat[key] for key in _PROCESS_COUNTS}}


def config_hash(config: Config, origin: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return 12 hex digits that are equal for configs with equal results.

    ``origin``: the run's ``Lineage.values``; empty if it began without another run's data.
    """
    values = hyperparameters(config)
    for key, default in _NOT_IN_OLDER_HASHES.items():
        if values[key] == default:
            del values[key]
    text = json.dumps({**values, **origin}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _nearest_key(key: str) -> str:
    """Name the field that was probably meant, in any part, or the part itself."""
    fields = list(flatten(config_to_dict(Config())))
    parts = {} if "." in key else {field.partition(".")[0]: None for field in fields}
    return nearest(key, [*parts, *fields])


def _check_keys(values: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> None:
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"unknown key {prefix + key!r}{_nearest_key(prefix + key)}")
        if f"{prefix}{key}" in _FREE_TABLES:
            continue
        if isinstance(known[key], Mapping):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}{key}: got {value!r}, wanted a table of fields")
            _check_keys(value, known[key], f"{prefix}{key}.")

"""Configs on disk: presets, JSON, hashes.

Called by the launcher and by ``run_folder`` (read back). Conversion and type
checks are pydantic's; only the naming of the nearest known key is ours.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from efficientzero.config import Config

PRESETS = ("atari100k", "muzero", "atari-small", "minatar", "cartpole", "acrobot", "catch")
"""Names of the presets, the reference first. Each is a TOML file of differences."""

_NOT_IN_HASH = ("seed", "cluster", "tracking", "preset")
"""Top-level keys that cannot change what is learned, or only repeat it."""

_ONLY_SPEED = (
    "search.inference_backend",
    "search.num_threads",
    "actor.pipeline",
    "learner.num_devices",
    "learner.compile",
)
"""Dotted keys that choose how to compute, not what."""

_ONLY_RECORDS = (
    "learner.log_interval",
    "learner.checkpoint_interval",
    "learner.checkpoints_kept",
)
"""Dotted keys that choose what is kept of a run, not what happens in it."""

_NOT_IN_OLDER_HASHES = {
    "replay.num_shards": 1,
    "env.action_repeat": 1,
    "compat.warmup_earns_train_steps": False,
    "network.downsample": 0,
}
"""Fields added later, with their default: left out of the hash, so that older runs keep theirs."""

_PROCESS_COUNTS = ("cluster.num_actors", "cluster.num_reanalyzers")
"""Not in the hash: a run may go on with other numbers. They shift the age of data and targets."""

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
    _check_keys(values, config_to_dict(Config()), "")
    try:
        return _ADAPTER.validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{key}: got {first['input']!r}, wanted: {first['msg']}") from None


def load_preset(name: str) -> Config:
    """Return the defaults changed by preset ``name``."""
    if name not in PRESETS:
        raise ConfigError(
            f"preset: got {name!r}, wanted one of {', '.join(PRESETS)}{nearest(name, PRESETS)}"
        )
    return config_from_dict({**_preset_values(name), "preset": name})


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
    """Return the dotted values that can change what is learned (no seed, processes, logging)."""
    values = {k: v for k, v in config_to_dict(config).items() if k not in _NOT_IN_HASH}
    return {k: v for k, v in flatten(values).items() if k not in _ONLY_SPEED + _ONLY_RECORDS}


def experiment_values(config: Config) -> dict[str, Any]:
    """Return the hyperparameters and the numbers of actors and reanalyzers: what a group tells."""
    flat = flatten(config_to_dict(config))
    return {**hyperparameters(config), **{key: flat[key] for key in _PROCESS_COUNTS}}


def config_hash(config: Config, origin: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return 12 hex digits that are equal for two configs that learn the same thing.

    ``origin``: what a run began with, if not with nothing (``Lineage.values``).
    """
    values = hyperparameters(config)
    for key, default in _NOT_IN_OLDER_HASHES.items():
        if values[key] == default:
            del values[key]
    text = json.dumps({**values, **origin}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def nearest(word: str, known: tuple[str, ...] | list[str]) -> str:
    """Return `` (did you mean ...?)`` or an empty string."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _preset_values(name: str) -> dict[str, Any]:
    text = resources.files("efficientzero").joinpath(f"presets/{name}.toml").read_text()
    return tomllib.loads(text)


def _check_keys(values: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> None:
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"unknown key {prefix + key!r}{nearest(key, list(known))}")
        if isinstance(known[key], Mapping):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}{key}: got {value!r}, wanted a table of fields")
            _check_keys(value, known[key], f"{prefix}{key}.")

"""Names of experiments: the group says what differs from the defaults, the run adds the seed.

Called by the launcher. Pure: knows no config class, no tracker, no clock.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

_MAX_GROUP_LENGTH = 112
"""wandb takes 128 characters; 16 are kept for ``_s<seed>``."""
_MAX_SUFFIX_LENGTH = 40
_ENV_KEY = "env.id"
"""Never listed as a difference: the group starts with it."""
_MISSING = object()


def group_name(
    env_id: str,
    values: Mapping[str, Any],
    defaults: Mapping[str, Any],
    suffix: str = "",
    bundles: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Name a group ``<env>[_<name>=<value>...][_<suffix>]``; equal experiments get equal names.

    Args:
        env_id: first part of the name.
        values: this run's hyperparameters under dotted keys (no seed, process counts or paths).
        defaults: what counts as not worth a word; keys that only it has are ignored.
        suffix: appended as it is, made safe.
        bundles: word -> values; a bundle that more of its values agree with than with the defaults
            is named by its word, and differences are counted from it.

    Returns:
        At most 112 characters of ``[A-Za-z0-9._=+-]``. A longer name leaves out differences and
        ends in a hash of the whole.
    """
    if len(suffix) > _MAX_SUFFIX_LENGTH:
        raise ValueError(
            f"group suffix: got {len(suffix)} characters, wanted at most {_MAX_SUFFIX_LENGTH}"
        )
    keys = sorted(k for k in values if k != _ENV_KEY)
    short = _short_names(keys)
    words = []
    for word, bundle in (bundles or {}).items():
        base = {**defaults, **bundle}
        if _num_different(values, base, bundle) < _num_different(values, defaults, bundle):
            words.append(_text(word))
            defaults = base
    differing = sorted(
        (short[k], _text(values[k]))
        for k in keys
        if _comparable(values[k]) != _comparable(defaults.get(k, _MISSING))
    )
    parts = [_text(env_id), *words, *(f"{name}={value}" for name, value in differing)]
    tail = [_text(suffix)] if suffix else []
    full = "_".join([*parts, *tail])
    if len(full) <= _MAX_GROUP_LENGTH:
        return full
    tail.append(hashlib.sha256(full.encode()).hexdigest()[:8])
    room = _MAX_GROUP_LENGTH - sum(len(part) + 1 for part in tail)
    return "_".join([_first_parts(parts, room), *tail])


def run_name(group: str, seed: int) -> str:
    """Name a run: every role of one seed has the same."""
    return f"{group}_s{seed}"


def _num_different(values: Mapping[str, Any], base: Mapping[str, Any], keys: Iterable[str]) -> int:
    return sum(
        _comparable(values.get(key, _MISSING)) != _comparable(base.get(key, _MISSING))
        for key in keys
    )


def _short_names(keys: list[str]) -> dict[str, str]:
    """Map each dotted key to the shortest end of it that no other key shares."""
    ends = {key: _ends(key) for key in keys}
    shared = Counter(end for of_key in ends.values() for end in of_key)
    return {key: next((end for end in ends[key] if shared[end] == 1), key) for key in keys}


def _ends(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[i:]) for i in reversed(range(len(parts)))]


def _first_parts(parts: list[str], room: int) -> str:
    """Join as many whole parts as fit: half a value would be read as another value."""
    num_fitting = sum(length <= room for length in accumulate(len(part) + 1 for part in parts))
    return "_".join(parts[:num_fitting]) or parts[0][:room]


def _comparable(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """Make values equal that JSON makes equal: a tuple comes back as a list."""
    return tuple(_comparable(v) for v in value) if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:  # noqa: ANN401  any JSON value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        short = f"{value:g}"
        # Six digits are for the eye; two experiments must not share a group for want of a seventh.
        return short if float(short) == value else repr(value)
    if isinstance(value, list | tuple):
        return "+".join(_text(v) for v in value)
    return re.sub(r"[^A-Za-z0-9._=+-]", "-", str(value))

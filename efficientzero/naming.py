"""Names of experiments: the group says what differs from the defaults, the run adds the seed.

Called by the launcher. Pure: knows no config class, no tracker, no clock.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, NamedTuple

_MAX_GROUP_LENGTH = 106
"""wandb takes 128 characters for group and name; ``_s`` and a seed of 64 bits need 22."""
_MAX_SUFFIX_LENGTH = 40
_DIGEST_LENGTH = 12
_ENV_KEY = "env.id"
"""Never listed as a difference: the group starts with it."""
_MISSING = object()
_MAX_EXACT_FLOAT = 2**53

# What can be read back from the name. Parts are joined by "_", so only names of fields and the
# suffix, which comes last, may hold one; "=" marks a difference. "ALE-" stands for "ALE/".
_EXACT_ENV = re.compile(r"ALE/[A-Za-z0-9.-]+|(?!ALE-)[A-Za-z0-9.-]+")
_EXACT_TEXT = re.compile(r"(?!(true|false)$)[A-Za-z][A-Za-z0-9_.]*")
_EXACT_SUFFIX = re.compile(r"[A-Za-z0-9._+-]*")
_LIKE_A_DIGEST = re.compile(rf"(?:.*_)?[0-9a-f]{{{_DIGEST_LENGTH}}}")


class _Part(NamedTuple):
    text: str  # safe characters only
    is_exact: bool  # no other value has this text


def group_name(
    env_id: str,
    values: Mapping[str, Any],
    presets: Mapping[str, Mapping[str, Any]],
    suffix: str = "",
    bundles: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Name a group ``<env>[_<preset>][_<name>=<value>...][_<suffix>]``.

    Two experiments have the same name if and only if environment, values and suffix are the same.
    The values are told as what differs from the preset that is nearest to them, whichever they were
    made from. A name that is too long, or would be another experiment's too (characters replaced, a
    suffix that reads like a difference), ends in a digest of the whole.

    Args:
        env_id: first part of the name.
        values: what makes the experiment, under dotted keys (no seed, paths or ports). A key has
            the same type in all experiments.
        presets: sets of defaults by name, at least one; the first goes unnamed. Keys that only
            they have are ignored.
        suffix: appended.
        bundles: word -> values; one that leaves fewer differences than it finds is named by its
            word, and the differences are counted from it.

    Returns:
        At most 106 characters of ``[A-Za-z0-9._=+-]``.
    """
    if len(suffix) > _MAX_SUFFIX_LENGTH:
        raise ValueError(
            f"group suffix: got {len(suffix)} characters, wanted at most {_MAX_SUFFIX_LENGTH}"
        )
    preset, keys = _nearest(values, presets)
    words, keys = _bundled(values, presets[preset], keys, bundles or {})
    short = _short_names(list(values))
    differing = sorted((short[key], key) for key in keys)
    parts = [_env(env_id)]
    if preset != next(iter(presets)):
        parts.append(_Part(preset, is_exact=True))
    parts.extend(_Part(word, is_exact=True) for word in words)
    for name, key in differing:
        value = _value(values[key])
        parts.append(_Part(f"{name}={value.text}", value.is_exact))
    tail = [_suffix(suffix, presets)] if suffix else []
    full = "_".join(part.text for part in [*parts, *tail])
    if len(full) <= _MAX_GROUP_LENGTH and all(part.is_exact for part in [*parts, *tail]):
        return full
    whole = [
        env_id,
        preset,
        words,
        [(key, _canonical(values[key])) for _, key in differing],
        suffix,
    ]
    ends = [part.text for part in tail]
    ends.append(hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:_DIGEST_LENGTH])
    room = _MAX_GROUP_LENGTH - sum(len(end) + 1 for end in ends)
    return "_".join([_first_parts([part.text for part in parts], room), *ends])


def environment_part(env_id: str) -> str:
    """Return what the group names of an environment begin with."""
    return _env(env_id).text


def run_name(group: str, seed: int) -> str:
    """Name a run: every role of one seed has the same."""
    return f"{group}_s{seed}"


def _nearest(
    values: Mapping[str, Any], presets: Mapping[str, Mapping[str, Any]]
) -> tuple[str, list[str]]:
    """Return the preset with the fewest differences, the first of equals, and their keys."""
    differences = {name: _differing(values, preset) for name, preset in presets.items()}
    return min(differences.items(), key=lambda item: len(item[1]))


def _bundled(
    values: Mapping[str, Any],
    defaults: Mapping[str, Any],
    keys: list[str],
    bundles: Mapping[str, Mapping[str, Any]],
) -> tuple[list[str], list[str]]:
    """Return the words of the bundles that shorten the list of differences, and what is left."""
    words = []
    for word, bundle in bundles.items():
        bundled = {**defaults, **bundle}
        left = _differing(values, bundled)
        if len(left) < len(keys):
            words.append(word)
            defaults, keys = bundled, left
    return words, keys


def _differing(values: Mapping[str, Any], preset: Mapping[str, Any]) -> list[str]:
    return [
        key
        for key, value in values.items()
        if key != _ENV_KEY and _canonical(value) != _canonical(preset.get(key, _MISSING))
    ]


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


def _env(env_id: str) -> _Part:
    return _Part(_safe(env_id), _EXACT_ENV.fullmatch(env_id) is not None)


def _suffix(suffix: str, presets: Mapping[str, Any]) -> _Part:
    is_exact = (
        _EXACT_SUFFIX.fullmatch(suffix) is not None
        and _LIKE_A_DIGEST.fullmatch(suffix) is None
        and suffix.partition("_")[0] not in presets
    )
    return _Part(_safe(suffix), is_exact)


def _value(value: Any) -> _Part:  # noqa: ANN401  any JSON value
    value = _canonical(value)
    if isinstance(value, bool):
        return _Part(str(value).lower(), is_exact=True)
    if isinstance(value, float):
        short = f"{value:g}"
        # Six digits are for the eye; two experiments must not share a group for want of a seventh.
        text = short if float(short) == value else repr(value)
        return _Part(text.replace("e+", "e"), is_exact=True)
    if isinstance(value, tuple):
        parts = [_value(v) for v in value]
        text = "+".join(part.text for part in parts) or "none"
        return _Part(text, all(part.is_exact for part in parts))
    if isinstance(value, str):
        return _Part(_safe(value).replace("_", "-"), _EXACT_TEXT.fullmatch(value) is not None)
    return _Part(_safe(str(value)), is_exact=isinstance(value, int))


def _canonical(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """Make equal what a JSON file makes equal: lists and tuples, whole numbers and their floats."""
    if isinstance(value, list | tuple):
        return tuple(_canonical(v) for v in value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_EXACT_FLOAT:
        return int(value)
    return value


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=+-]", "-", text)

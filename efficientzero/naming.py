"""Names of experiments: the group says what differs from the defaults, the run adds the seed.

Called by the launcher. Pure: knows no config class, no tracker, no clock.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from efficientzero.name_parts import (
    DIGEST_LENGTH,
    Part,
    canonical,
    environment,
    limited,
    rounded,
    safe,
    suffix_part,
    value_part,
)

_MAX_GROUP_LENGTH = 106
"""wandb takes 128 characters for group and name; ``_s`` and a seed of 64 bits need 22."""
_MAX_SUFFIX_LENGTH = 40
_ENV_KEY = "env.id"
"""Never listed as a difference: the group starts with it."""
_MISSING = object()
_MOST_TREATED, _MOST_OTHER = 40, 20
"""Characters of a value where the name is too long for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What a study varies: in a name that is too long for every difference, it comes first."""

    arm: str = ""
    """What the study calls this experiment; named where the fields' values do not fit."""
    ablated: Sequence[str] = ()
    """Dotted keys that the study's arms switch."""
    varied: Sequence[str] = ()
    """Other dotted keys that differ between the study's experiments."""


_NO_TREATMENT = Treatment()


def group_name(
    env_id: str,
    values: Mapping[str, Any],
    presets: Mapping[str, Mapping[str, Any]],
    suffix: str = "",
    bundles: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    importance: Sequence[str] = (),
    treatment: Treatment = _NO_TREATMENT,
) -> str:
    """Name a group ``<env>[_<preset>][_<name>=<value>...][_<suffix>]``.

    Two experiments have the same name if and only if environment, values and suffix are the same.
    The values are told as what differs from the preset that is nearest to them, whichever they were
    made from. A name that would be another experiment's too (characters replaced, a suffix that
    reads like a difference) ends in a digest of the whole. One that is too long becomes
    ``<env>[_<preset>][_<name>=<value>...]_<number>-more[_<suffix>]_<digest>``: the treatment first,
    then the most important differences with shorter names and rounded values, then how many were
    cut. There the treatment decides what is readable; the digest does not depend on it.

    Args:
        env_id: first part of the name.
        values: what makes the experiment, under dotted keys (no seed, paths or ports). A key has
            the same type in all experiments.
        presets: sets of defaults by name, at least one; the first goes unnamed. Keys that only
            they have are ignored.
        suffix: appended.
        bundles: word -> values; one that leaves fewer differences than it finds is named by its
            word, and the differences are counted from it.
        importance: keys, the most important first; others come after them.
        treatment: what the study varies, if the experiment is part of one.

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
    head = [environment(env_id)]
    if preset != next(iter(presets)):
        head.append(Part(preset, is_exact=True))
    head.extend(Part(word, is_exact=True) for word in words)
    parts = list(head)
    for name, key in differing:
        value = value_part(values[key])
        parts.append(Part(f"{name}={value.text}", value.is_exact))
    tail = [suffix_part(suffix, presets)] if suffix else []
    full = "_".join(part.text for part in [*parts, *tail])
    is_short = len(full) <= _MAX_GROUP_LENGTH
    if is_short and all(part.is_exact for part in [*parts, *tail]):
        return full
    whole = [
        env_id,
        preset,
        words,
        [(key, canonical(values[key])) for _, key in differing],
        suffix,
    ]
    digest = hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:DIGEST_LENGTH]
    ends = [*(part.text for part in tail), digest]
    room = _MAX_GROUP_LENGTH - sum(len(end) + 1 for end in ends)
    texts = [part.text for part in parts]
    if is_short and len("_".join(texts)) <= room:
        return "_".join([*texts, *ends])
    shortened = _Shortened(values, presets[preset], keys, importance, treatment)
    return "_".join([shortened.text([part.text for part in head], room), *ends])


def environment_part(env_id: str) -> str:
    """Return what the group names of an environment begin with."""
    return environment(env_id).text


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
        if key != _ENV_KEY and canonical(value) != canonical(preset.get(key, _MISSING))
    ]


def _short_names(keys: list[str]) -> dict[str, str]:
    """Map each dotted key to the shortest end of it that no other key shares."""
    ends = {key: _ends(key) for key in keys}
    shared = Counter(end for of_key in ends.values() for end in of_key)
    return {key: next((end for end in ends[key] if shared[end] == 1), key) for key in keys}


def _ends(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[i:]) for i in reversed(range(len(parts)))]


class _Shortened:
    """The part of a name that is too long: what matters most, as readable as there is room for."""

    def __init__(
        self,
        values: Mapping[str, Any],
        defaults: Mapping[str, Any],
        differing: Sequence[str],
        importance: Sequence[str],
        treatment: Treatment,
    ) -> None:
        self._values, self._defaults, self._treatment = values, defaults, treatment
        rank = {key: i for i, key in enumerate(importance)}
        by_rank = [key for key in values if key in set(differing)]
        self._differing = sorted(by_rank, key=lambda key: rank.get(key, len(rank)))
        self._names = _short_names(list(values))
        self._abbreviations = _abbreviations(self._names)

    def text(self, head: Sequence[str], room: int) -> str:
        """Return ``head``, as many differences as fit, and how many did not; joined."""
        for first, keys, names in self._choices():
            texts = [*head, *first, *(self._treated(key, names) for key in keys)]
            others = [key for key in self._differing if key not in keys]
            if len("_".join([*texts, f"{len(others)}-more"])) <= room:
                return self._fill(texts, others, room)
        room -= len(f"_{len(self._differing)}-more")
        lengths = accumulate(len(text) + 1 for text in texts)
        # Whole parts: half a value would be read as another value.
        fitting = texts[: sum(length <= room + 1 for length in lengths)]
        num_shown = max(0, len(fitting) - len(head) - len(first))
        num_cut = len(self._differing) - sum(key in self._differing for key in keys[:num_shown])
        return f"{'_'.join(fitting) or texts[0][:room]}_{num_cut}-more"

    def _choices(self) -> list[tuple[list[str], list[str], dict[str, str]]]:
        """Return ways to write the treatment, the best first: (texts, fields, names of fields)."""
        arm = self._treatment.arm
        varied = [key for key in self._treatment.varied if key in self._values]
        ablated = [key for key in self._treatment.ablated if key in self._values]
        keys = list(dict.fromkeys([*ablated, *varied]))
        choices: list[tuple[list[str], list[str], dict[str, str]]] = [([], keys, self._names)]
        first = []
        if arm:
            first, keys = [f"arm={safe(arm)}"], varied
            choices.append((first, keys, self._names))
        return [*choices, (first, keys, self._abbreviations)]

    def _fill(self, texts: Sequence[str], others: Sequence[str], room: int) -> str:
        """Add the others: all if abbreviating some is enough, else without the last ones."""
        for kept in range(len(others), -1, -1):
            cut = len(others) - kept
            more = [f"{cut}-more"] if cut else []
            for full in range(kept, -1, -1):
                names = [self._names] * full + [self._abbreviations] * (kept - full)
                added = [self._other(key, of) for key, of in zip(others, names, strict=False)]
                if len(joined := "_".join([*texts, *added, *more])) <= room:
                    return joined
        raise AssertionError("there was room for the treatment and the number")

    def _treated(self, key: str, names: Mapping[str, str]) -> str:
        return f"{names[key]}={limited(value_part(self._values[key]).text, _MOST_TREATED)}"

    def _other(self, key: str, names: Mapping[str, str]) -> str:
        text = rounded(self._values[key], self._defaults.get(key))
        return f"{names[key]}={limited(text, _MOST_OTHER)}"


def _abbreviations(names: Mapping[str, str]) -> dict[str, str]:
    """Map each key to the fewest leading words of its short name that no other name begins with."""
    parents = {part for key in names for part in key.split(".")[:-1]}
    beginnings = Counter(
        beginning for key in names for beginning in set(_beginnings(key.rpartition(".")[2]))
    )
    return {
        key: next((b for b in _beginnings(name) if beginnings[b] == 1 and b not in parents), name)
        for key, name in names.items()
    }


def _beginnings(name: str) -> list[str]:
    return list(accumulate(name.split("_"), lambda words, word: f"{words}_{word}"))

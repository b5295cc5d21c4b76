"""Names of experiments: the group lists differences from the defaults, the run adds the seed.

Called by the launcher. Pure: knows no config class, no tracker, no clock.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from efficientzero.runs.name_parts import (
    DIGEST_LENGTH,
    Frame,
    Part,
    abbreviations,
    canonical,
    environment,
    initials,
    limited,
    rounded,
    safe,
    short_names,
    shorter_arms,
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
"""Characters of a value if the name is too long for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """The fields that a study varies; a name too long for every difference lists them first."""

    arm: str = ""
    """The study's name for this experiment, used if the fields' values do not fit."""
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
    The name lists the values that differ from the nearest preset, which need not be the preset that
    they were made from. A name that could also be another experiment's (characters replaced, a
    suffix that reads like a difference) ends in a digest of the whole. A name that is too long is
    ``<env>[_<preset>][_<name>=<value>...]_<number>-more[_<suffix>]_<digest>``: the treatment first,
    then the most important differences with shorter names and rounded values, then the number of
    differences cut. The digest does not depend on the treatment. To make room for the treatment,
    these are shortened in turn: the names of its fields, preset, environment, suffix and arm.

    Args:
        env_id: first part of the name.
        values: the fields that define the experiment, under dotted keys (no seed, paths or ports).
            A key has the same type in all experiments.
        presets: sets of defaults by name, at least one; the first is not named. Keys that only
            presets have are ignored.
        suffix: appended.
        bundles: word -> values. A bundle that reduces the number of differences is named by its
            word, and the differences are counted from it.
        importance: keys, the most important first; others come after them.
        treatment: the fields that the study varies, if the experiment is part of one.

    Returns:
        At most 106 characters of ``[A-Za-z0-9._=+-]``.
    """
    if len(suffix) > _MAX_SUFFIX_LENGTH:
        raise ValueError(
            f"group suffix: got {len(suffix)} characters, wanted at most {_MAX_SUFFIX_LENGTH}"
        )
    preset, keys = _nearest(values, presets)
    words, keys = _bundled(values, presets[preset], keys, bundles or {})
    short = short_names(list(values))
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
    frame = Frame(
        environment=environment(env_id).text,
        preset=preset if preset != next(iter(presets)) else "",
        words=words,
        suffix=safe(suffix),
        digest=digest,
        most=_MAX_GROUP_LENGTH,
    )
    return _Shortened(values, presets[preset], keys, importance, treatment).text(frame)


def environment_part(env_id: str) -> str:
    """Return the beginning of an environment's group names."""
    return environment(env_id).text


def run_name(group: str, seed: int) -> str:
    """Name a run; all roles of one seed share the name."""
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
    """Return the words of the bundles that shorten the list of differences, and the other keys."""
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


@functools.lru_cache(maxsize=16)
def _names_of(keys: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return short names, abbreviations and initials; a grid asks for the same keys often."""
    names = short_names(list(keys))
    longer = abbreviations(names)
    return names, longer, initials(names, longer)


class _Shortened:
    """A name too long for all differences: the most important ones, as readable as possible."""

    def __init__(
        self,
        values: Mapping[str, Any],
        defaults: Mapping[str, Any],
        differing: Sequence[str],
        importance: Sequence[str],
        treatment: Treatment,
    ) -> None:
        self._values, self._defaults, self._arm = values, defaults, treatment.arm
        rank = {key: i for i, key in enumerate(importance)}
        by_rank = [key for key in values if key in set(differing)]
        self._differing = sorted(by_rank, key=lambda key: rank.get(key, len(rank)))
        self._names, self._abbreviations, self._initials = _names_of(tuple(values))
        self._varied = [key for key in treatment.varied if key in values]
        ablated = [key for key in treatment.ablated if key in values]
        self._treated = list(dict.fromkeys([*ablated, *self._varied]))

    def text(self, frame: Frame) -> str:
        """Return the frame with as many differences as fit, and how many did not."""
        frames = frame.shorter()
        for at, first, keys, names in self._choices(frames):
            texts = [*first, *(self._field(key, names[key]) for key in keys)]
            others = [key for key in self._differing if key not in keys]
            if at.fits([*texts, f"{len(others) + at.num_hidden}-more"]):
                return self._fill(at, texts, others)
        return self._cut(at, texts, [*("" for _ in first), *keys])

    def _choices(
        self, frames: Sequence[Frame]
    ) -> Iterator[tuple[Frame, list[str], list[str], Mapping[str, str]]]:
        """Yield ways to write the treatment, the best first: frame, arm, fields, their names."""
        yield frames[0], [], self._treated, self._names
        keys, arms = self._treated, list[list[str]]([[]])
        if self._arm:
            keys, arms = self._varied, [[f"arm={arm}"] for arm in shorter_arms(self._arm)]
            yield frames[0], arms[0], keys, self._names
        yield frames[0], arms[0], keys, self._abbreviations
        names = dict(self._abbreviations)
        # Only as many as it takes, the longest first.
        for key in sorted(keys, key=lambda key: -len(names[key])):
            names[key] = self._initials[key]
            yield frames[0], arms[0], keys, dict(names)
        for frame in frames[1:]:
            yield frame, arms[0], keys, names
        for arm in arms[1:]:
            yield frames[-1], arm, keys, names

    def _fill(self, frame: Frame, texts: Sequence[str], others: Sequence[str]) -> str:
        """Add the others: all if abbreviating some is enough, else without the last ones."""
        for kept in range(len(others), -1, -1):
            cut = len(others) - kept + frame.num_hidden
            more = [f"{cut}-more"] if cut else []
            for full in range(kept, -1, -1):
                names = [self._names] * full + [self._abbreviations] * (kept - full)
                added = [self._other(key, of) for key, of in zip(others, names, strict=False)]
                if frame.fits(parts := [*texts, *added, *more]):
                    return frame.around(parts)
        raise AssertionError("there was room for the treatment and the number")

    def _cut(self, frame: Frame, texts: Sequence[str], keys: Sequence[str]) -> str:
        """Leave out as few parts of the treatment as possible: the longest, always whole."""
        num_most = frame.num_hidden + len(self._differing)
        kept: list[int] = []
        for i in sorted(range(len(texts)), key=lambda i: len(texts[i])):
            if frame.fits([*(texts[j] for j in [*kept, i]), f"{num_most}-more"]):
                kept.append(i)
        kept.sort()
        num_cut = num_most - sum(keys[i] in self._differing for i in kept)
        return frame.around([*(texts[i] for i in kept), f"{num_cut}-more"])

    def _field(self, key: str, name: str) -> str:
        return f"{name}={limited(value_part(self._values[key]).text, _MOST_TREATED)}"

    def _other(self, key: str, names: Mapping[str, str]) -> str:
        text = rounded(self._values[key], self._defaults.get(key))
        return f"{names[key]}={limited(text, _MOST_OTHER)}"

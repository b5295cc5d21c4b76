"""Texts of fields and values in the names of experiments, and which can be read back.

Called by ``naming``. Pure.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from efficientzero.config import LATER_NAMED_FIELDS

DIGEST_LENGTH = 12
"""Hex digits at the end of a name that does not hold everything."""
_MAX_EXACT_FLOAT = 2**53
_MAX_PLAIN_INT = 10**6
_ARM_LETTERS = 4
"""Letters of each word if an arm must be short; the components stay distinct."""
_MOST_ARM = 20
_WORD_LETTERS = 3
"""Letters of a field whose name is one word: its initial alone does not help a reader."""

# What can be read back from the name. Parts are joined by "_", so only names of fields and the
# suffix, which comes last, may hold one; "=" marks a difference. "ALE-" stands for "ALE/".
_EXACT_ENV = re.compile(r"ALE/[A-Za-z0-9.-]+|(?!ALE-)[A-Za-z0-9.-]+")
_EXACT_TEXT = re.compile(r"(?!(true|false)$)[A-Za-z][A-Za-z0-9_.]*")
_EXACT_SUFFIX = re.compile(r"[A-Za-z0-9._+-]*")
_VERSION = re.compile(r"-v\d+$")
_LIKE_A_DIGEST = re.compile(rf"(?:.*_)?[0-9a-f]{{{DIGEST_LENGTH}}}")


class Part(NamedTuple):
    """A part of a name."""

    text: str  # safe characters only
    is_exact: bool  # no other value has this text


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The parts of a shortened name around its differences."""

    environment: str
    preset: str
    """Empty: unnamed."""
    words: Sequence[str]
    """Bundles of differences."""
    suffix: str
    digest: str
    most: int
    """Characters of the whole name."""
    num_hidden: int = 0
    """Bundles that ``shorter`` has left out."""

    def around(self, parts: Sequence[str]) -> str:
        """Return the whole name."""
        head = [self.environment, self.preset, *self.words]
        return "_".join(filter(None, [*head, *parts, self.suffix, self.digest]))

    def fits(self, parts: Sequence[str]) -> bool:
        """Return whether the name is short enough."""
        return len(self.around(parts)) <= self.most

    def shorter(self) -> list[Frame]:
        """Return this frame and shorter ones: no preset, then less of environment and suffix."""
        frames = [self]

        def add(**changes: Any) -> None:  # noqa: ANN401  any field
            frames.append(dataclasses.replace(frames[-1], **changes))

        add(preset="")
        add(environment=self.environment.removeprefix("ALE-"))
        add(environment=_VERSION.sub("", frames[-1].environment))
        for most in (24, 16, 8):
            add(suffix=limited(self.suffix, most))
        for most in (40, 24, 16, 8):
            add(environment=limited(frames[-1].environment, most))
        add(words=(), num_hidden=len(self.words))
        return frames


def shorter_arms(arm: str) -> list[str]:
    """Return ways to write an arm, the shortest last: ``no_value_prefix``, ``no_valu_pref``."""
    text = safe(arm)
    letters = "_".join(word[:_ARM_LETTERS] for word in text.split("_"))
    return [text, letters, limited(letters, _MOST_ARM)]


def environment(env_id: str) -> Part:
    """Return the beginning of an environment's names."""
    return Part(safe(env_id), _EXACT_ENV.fullmatch(env_id) is not None)


def suffix_part(suffix: str, presets: Mapping[str, Any]) -> Part:
    """Return a suffix; one that reads like a digest or a preset is not exact."""
    is_exact = (
        _EXACT_SUFFIX.fullmatch(suffix) is not None
        and _LIKE_A_DIGEST.fullmatch(suffix) is None
        and suffix.partition("_")[0] not in presets
    )
    return Part(safe(suffix), is_exact)


def value_part(value: Any) -> Part:  # noqa: ANN401  any JSON value
    """Return a value with all its digits."""
    value = canonical(value)
    if isinstance(value, bool):
        return Part(str(value).lower(), is_exact=True)
    if isinstance(value, float):
        short = f"{value:g}"
        # All digits where six are too few: two experiments must not share a group.
        text = short if float(short) == value else repr(value)
        return Part(text.replace("e+", "e"), is_exact=True)
    if isinstance(value, tuple):
        parts = [value_part(v) for v in value]
        text = "+".join(part.text for part in parts) or "none"
        return Part(text, all(part.is_exact for part in parts))
    if isinstance(value, str):
        return Part(safe(value).replace("_", "-"), _EXACT_TEXT.fullmatch(value) is not None)
    return Part(safe(str(value)), is_exact=isinstance(value, int))


def canonical(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """Unify values that JSON does not distinguish: lists and tuples, whole numbers and floats."""
    if isinstance(value, list | tuple):
        return tuple(canonical(v) for v in value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_EXACT_FLOAT:
        return int(value)
    return value


def safe(text: str) -> str:
    """Return ``text`` with "-" for every character that a name cannot hold."""
    return re.sub(r"[^A-Za-z0-9._=+-]", "-", text)


def rounded(value: Any, default: Any) -> str:  # noqa: ANN401  any JSON value
    """Return a readable value: three digits, or all if the default would look the same."""
    value = canonical(value)
    if isinstance(value, tuple):
        return "+".join(rounded(v, None) for v in value) or "none"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and (isinstance(value, float) or abs(value) >= _MAX_PLAIN_INT):
        text = f"{value:.3g}"
        if not isinstance(default, int | float) or f"{default:.3g}" != text:
            return re.sub(r"e\+?(-?)0*", r"e\1", text)
    return value_part(value).text


def limited(text: str, most: int) -> str:
    """Return ``text``, cut to its beginning and two dots if it is longer than ``most``."""
    return text if len(text) <= most else f"{text[: most - 2]}.."


def whole_parts(name: str, most: int) -> str:
    """Return the beginning of a group's name that fits and ends in a whole value, or nothing."""
    ends = [match.end() for match in re.finditer(r"=[^_]*|_[0-9]+-more(?=_|$)", name)]
    return name[: max((end for end in ends if end <= most), default=0)]


def short_names(keys: list[str]) -> dict[str, str]:
    """Map each dotted key to the shortest end of it that no other key shares.

    Fields that were added later take no name of those before them, and leave their abbreviations
    and initials.
    """
    return dict(_short_names(tuple(keys)))


@lru_cache(maxsize=16)
def _short_names(keys: tuple[str, ...]) -> dict[str, str]:
    ends = {key: _ends(key) for key in keys}
    shared = Counter(end for of_key in ends.values() for end in of_key)
    later = set(LATER_NAMED_FIELDS) & set(keys)
    before = [key for key in keys if key not in later]
    shared_before = Counter(end for key in before for end in ends[key])
    earlier = {
        key: next((end for end in ends[key] if shared_before[end] == 1), key) for key in before
    }
    names = dict.fromkeys(keys, "") | earlier
    longer = _abbreviations(earlier)
    taken = {*longer.values(), *_initials_among(earlier, longer).values()}
    for key in later:
        names[key] = next((end for end in ends[key] if shared[end] == 1 and end not in taken), key)
    return names


def _ends(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[i:]) for i in reversed(range(len(parts)))]


def abbreviations(names: Mapping[str, str]) -> dict[str, str]:
    """Map each key to the fewest leading words of its short name that no other name begins with.

    Fields that were added later do not count for those before them, whose names stay.
    """
    return _by_generation(names, _abbreviations)


def _abbreviations(names: Mapping[str, str]) -> dict[str, str]:
    parents = {part for key in names for part in key.split(".")[:-1]}
    beginnings = Counter(
        beginning for key in names for beginning in set(_beginnings(key.rpartition(".")[2]))
    )
    return {
        key: next((b for b in _beginnings(name) if beginnings[b] == 1 and b not in parents), name)
        for key, name in names.items()
    }


def _by_generation(
    names: Mapping[str, str],
    shorten: Callable[[Mapping[str, str]], Mapping[str, str]],
) -> dict[str, str]:
    """Name each field among those that were there when it was added."""
    later = [key for key in LATER_NAMED_FIELDS if key in names]
    known = {key: name for key, name in names.items() if key not in set(later)}
    found = dict(shorten(known))
    for key in later:
        known[key] = names[key]
        found[key] = shorten(known)[key]
    return {key: found[key] for key in names}


def _beginnings(name: str) -> list[str]:
    return list(accumulate(name.split("_"), lambda words, word: f"{words}_{word}"))


def initials(names: Mapping[str, str], longer: Mapping[str, str]) -> dict[str, str]:
    """Map each key to the initials of its short name's words, with more letters if shared.

    ``vp`` for ``value_prefix``, ``nen`` and ``nep`` for ``num_envs`` and ``num_episodes``,
    three letters of a single word: ``dis`` for ``discount``.

    Args:
        names: the short name of every key.
        longer: the abbreviations, which no other key's initials may equal; they stay where
            initials are not shorter.
    """
    return _by_generation(names, lambda known: _initials_among(known, longer))


def _initials_among(names: Mapping[str, str], longer: Mapping[str, str]) -> dict[str, str]:
    taken = {*names.values(), *(longer[key] for key in names)}
    taken |= {part for key in names for part in key.split(".")[:-1]}
    candidates = {key: _initials(name) for key, name in names.items()}
    shared = Counter(c for of_key in candidates.values() for c in set(of_key))
    found = {
        key: next((c for c in of_key if shared[c] == 1 and c not in taken), longer[key])
        for key, of_key in candidates.items()
    }
    return {key: min(longer[key], text, key=len) for key, text in found.items()}


def _initials(name: str) -> list[str]:
    """Return the initials, then with more letters of the last and of the first word."""
    words = [word for word in re.split(r"[._]", name) if word]
    if len(words) == 1:
        return [name[:n] for n in range(min(_WORD_LETTERS, len(name)), len(name) + 1)]
    first, last = words[0], words[-1]
    inner = "".join(word[0] for word in words[1:-1])
    found = []
    for n in range(1, max(map(len, words)) + 1):
        found += [first[0] + inner + last[:n], first[:n] + inner + last[0]]
    return found

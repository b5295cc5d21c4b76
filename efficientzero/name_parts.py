"""Texts of values in the names of experiments, and which of them can be read back.

Called by ``naming``. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

DIGEST_LENGTH = 12
"""Hex digits at the end of a name that does not hold everything."""
_MAX_EXACT_FLOAT = 2**53
_MAX_PLAIN_INT = 10**6

# What can be read back from the name. Parts are joined by "_", so only names of fields and the
# suffix, which comes last, may hold one; "=" marks a difference. "ALE-" stands for "ALE/".
_EXACT_ENV = re.compile(r"ALE/[A-Za-z0-9.-]+|(?!ALE-)[A-Za-z0-9.-]+")
_EXACT_TEXT = re.compile(r"(?!(true|false)$)[A-Za-z][A-Za-z0-9_.]*")
_EXACT_SUFFIX = re.compile(r"[A-Za-z0-9._+-]*")
_LIKE_A_DIGEST = re.compile(rf"(?:.*_)?[0-9a-f]{{{DIGEST_LENGTH}}}")


class Part(NamedTuple):
    """A part of a name."""

    text: str  # safe characters only
    is_exact: bool  # no other value has this text


def environment(env_id: str) -> Part:
    """Return what the names of an environment begin with."""
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
        # Six digits are for the eye; two experiments must not share a group for want of a seventh.
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
    """Make equal what a JSON file makes equal: lists and tuples, whole numbers and their floats."""
    if isinstance(value, list | tuple):
        return tuple(canonical(v) for v in value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_EXACT_FLOAT:
        return int(value)
    return value


def safe(text: str) -> str:
    """Return ``text`` with "-" for every character that a name cannot hold."""
    return re.sub(r"[^A-Za-z0-9._=+-]", "-", text)


def rounded(value: Any, default: Any) -> str:  # noqa: ANN401  any JSON value
    """Return a value for reading: three digits, all of them where the default would look alike."""
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
    """Return ``text``; where it is longer than ``most``, its beginning and two dots."""
    return text if len(text) <= most else f"{text[: most - 2]}.."

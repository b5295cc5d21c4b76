"""Which known name a mistyped one was probably meant to be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

_LEAST_LIKENESS = 0.6
_LEAST_BEGINNING = 3  # letters


def nearest(word: str, known: Sequence[str]) -> str:
    """Return `` (did you mean ...?)`` or an empty string.

    Of several known names with commas between them: the same names with spaces.
    """
    parts = word.split(",")
    if len(parts) > 1 and all(part in known for part in parts):
        return f" (with spaces between them: {' '.join(parts)})"
    close = closest(word, known)
    return f" (did you mean {close[0]!r}?)" if close else ""


def closest(word: str, known: Iterable[str], *, count: int = 1) -> list[str]:
    """Return the ``count`` known names that are most similar, best first.

    Case and the signs between words do not count. The same name comes first, then the same last
    part after a dot (``num_simulations`` for ``search.num_simulations``), then names of which one
    begins with the other, then those that differ in few letters.
    """
    ranks = {name: _likeness(word, name) for name in known}
    likely = [name for name, rank in ranks.items() if rank >= _LEAST_LIKENESS]
    return sorted(likely, key=lambda name: -ranks[name])[:count]


def _likeness(word: str, name: str) -> float:
    """Return 3 for the same name, 2 for the same last part, below 2 by how alike they are.

    2.5 if both are of one section, and the last part of one begins or ends with the other's.
    """
    given, meant = _letters(word), _letters(name)
    if given == meant:
        return 3.0
    (section, _, last), (other_section, _, other) = word.rpartition("."), name.rpartition(".")
    short, long = sorted((_letters(last), _letters(other)), key=len)
    is_alike = len(short) >= _LEAST_BEGINNING and (long.startswith(short) or long.endswith(short))
    if is_alike and section and section == other_section:
        return 2.5
    if short == long:
        return 2.0
    alike = difflib.SequenceMatcher(None, given, meant).ratio()
    shorter = min(len(given), len(meant))
    begins = shorter >= _LEAST_BEGINNING and given[:shorter] == meant[:shorter]
    return alike + (_LEAST_LIKENESS if begins else 0.0)


def _letters(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).lower()

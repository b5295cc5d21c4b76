"""Texts that come from other processes, made safe for logs, tables and terminals."""

from __future__ import annotations

MOST_CHARACTERS = 255


def clean(text: str, *, most: int = MOST_CHARACTERS) -> str:
    """Return ``text`` in one line that shows what it says.

    Line ends, escape sequences of terminals, characters that turn the direction of writing and
    whatever else is not printed become ``?``; what is too long is cut, which an ellipsis shows.
    """
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(character if character.isprintable() else "?" for character in cut)

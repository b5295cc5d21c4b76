"""Texts that come from other processes, made safe for logs, tables and terminals."""

from __future__ import annotations

MOST_CHARACTERS = 255


def clean(text: str, *, most: int = MOST_CHARACTERS) -> str:
    """Return ``text`` as one printable line.

    Line ends, escape sequences of terminals, characters that change the direction of writing and
    all others that are not printable become ``?``; a long text is cut and ends in an ellipsis.
    """
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(character if character.isprintable() else "?" for character in cut)

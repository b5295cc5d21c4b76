"""``--env.kwargs KEY=VALUE ...`` on a command line: arguments of an environment's constructor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from efficientzero.config import EnvKwargs

_OPTION = "--env.kwargs"
_QUOTE = '"'
_WORDS = {"true": True, "false": False}

REGISTRY = ConstructorRegistry()
"""For ``tyro.cli``, whose own way takes a table as ``KEY VALUE KEY VALUE``."""


def join_kwargs(arguments: Sequence[str]) -> list[str]:
    """Return a command line in which pairs of several ``--env.kwargs`` stand behind one.

    The parser keeps only the last of an option that is given more than once.
    """
    others: list[str] = []
    pairs: list[str] = []
    num_given, is_open = 0, False  # open: what follows belongs to the option
    for argument in arguments:
        name, equals, pair = argument.partition("=")
        if name == _OPTION:
            num_given, is_open = num_given + 1, not equals
            pairs += [pair] * bool(equals)
        elif is_open and not argument.startswith("-"):
            pairs.append(argument)
        else:
            is_open = False
            others.append(argument)
    # At the end, where no positional argument follows that it would take.
    return [*others, _OPTION, *pairs] if num_given > 1 else list(arguments)


def parse_kwargs(pairs: Sequence[str]) -> EnvKwargs:
    """Read ``KEY=VALUE`` pairs: integers, numbers, true or false, else words.

    What stands between double quotes is a word whatever it looks like.

    Raises:
        ValueError: no ``=``, or a key twice.
    """
    kwargs: EnvKwargs = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise ValueError(f"got {pair!r}, wanted KEY=VALUE")
        if key in kwargs:
            raise ValueError(f"got {key} twice")
        kwargs[key] = _value(text)
    return kwargs


def kwarg_text(key: str, value: bool | float | str) -> str:
    """Return the pair that ``parse_kwargs`` reads as this argument."""
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    if isinstance(value, str):
        is_plain = type(_value(value)) is str and not _is_quoted(value)
        return f"{key}={value}" if is_plain else f"{key}={_QUOTE}{value}{_QUOTE}"
    return f"{key}={value!r}"


def _value(text: str) -> bool | int | float | str:
    if _is_quoted(text):
        return text[1:-1]
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] == _QUOTE


@REGISTRY.primitive_rule
def _rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if info.type != EnvKwargs:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="KEY=VALUE",
        instance_from_str=parse_kwargs,
        is_instance=lambda instance: isinstance(instance, dict),
        str_from_instance=lambda kwargs: [kwarg_text(*pair) for pair in kwargs.items()],
    )

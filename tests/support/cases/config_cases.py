"""Random configs: any fields changed, strings with odd characters, long floats and long lists."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import hypothesis.strategies as st

from efficientzero.config.fields import Config
from efficientzero.config.files import config_from_dict, config_to_dict
from efficientzero.config.preset_files import PRESETS

ODD_TEXT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["ALE/Pong-v5", "ALE-Pong-v5", "a_b=1", "catch", "x/y", "x-y", "", "é", "\n"]),
)


def fields_of(cls: Any = Config, prefix: str = "") -> dict[str, Any]:
    """Return dotted field -> type of every leaf of the config."""
    found = {}
    for name, kind in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(kind):
            found |= fields_of(kind, f"{prefix}{name}.")
        else:
            found[prefix + name] = kind
    return found


def values_of(kind: Any, key: str) -> st.SearchStrategy[Any]:
    """Return a strategy for one field, few values among them so that equals are drawn, too."""
    if key == "preset":
        return st.sampled_from(PRESETS)
    if typing.get_origin(kind) is typing.Literal:
        return st.sampled_from(typing.get_args(kind))
    floats = st.one_of(
        st.sampled_from([0.1, 0.30000000000000004, 0.3, 1e-30, 1e300, 2.0, 12345678.9, 1234567.89]),
        st.floats(min_value=0.0, allow_nan=False, allow_infinity=False),
    )
    if kind == tuple[float, ...]:
        return st.lists(floats, max_size=40).map(tuple)
    if kind == tuple[str, ...]:
        return st.lists(ODD_TEXT, max_size=3).map(tuple)
    by_type = {
        bool: st.booleans(),
        int: st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1)),
        float: floats,
        str: ODD_TEXT,
        # Whole numbers and booleans that Python counts as equal are left to the tests of naming.
        dict: st.dictionaries(
            st.sampled_from(["size", "mode", "num_simulations", "id_"]),
            st.one_of(st.booleans(), st.integers(2, 9), ODD_TEXT),
            max_size=3,
        ),
    }
    return by_type[typing.get_origin(kind) or kind]


FIELDS = fields_of()
CHANGES = st.lists(
    st.sampled_from(sorted(FIELDS)).flatmap(
        lambda key: st.tuples(st.just(key), values_of(FIELDS[key], key))
    ),
    max_size=12,
).map(dict)


def changed(config: Config, changes: dict[str, Any]) -> Config:
    """Return `config` with dotted fields changed."""
    values = config_to_dict(config)
    for key, value in changes.items():
        *parents, leaf = key.split(".")
        inner = values
        for parent in parents:
            inner = inner[parent]
        inner[leaf] = value
    return config_from_dict(values)

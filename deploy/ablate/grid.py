"""A grid and its cells: what is varied, from a TOML file or a command line, and every combination.

Pure: reads a grid file, starts nothing. The cells' configs are checked in ``check.py``.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from deploy.launching import COMPONENTS
from efficientzero.config import (
    Config,
    ConfigError,
    config_from_dict,
    config_to_dict,
    flatten,
    nearest,
    whole,
)

Mode = Literal["leave-one-out", "add-one"]

ARM, ENV, SEED, ACTORS = "arm", "env.id", "seed", "cluster.num_actors"
_LISTS = {"components": str, "envs": str, "seeds": int, "actors": int}
_KEYS = ("preset", "mode", "set", "vary", *_LISTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is varied; empty means: as in the base config."""

    components: tuple[str, ...] = ()
    mode: Mode = "leave-one-out"
    envs: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    actors: tuple[int, ...] = ()
    vary: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Dotted field -> its values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridFile:
    """A grid as written down, with the base that its cells share."""

    preset: str | None
    base: Mapping[str, Any]
    """Dotted fields that differ from the preset in every cell."""
    grid: Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of the grid."""

    index: int
    """Place in the expansion, from 0; the same whenever the same grid is expanded."""
    place: Mapping[str, Any]
    """Where on each axis of the grid: arm, environment, varied fields, seed."""
    overrides: Mapping[str, Any]
    """Dotted fields in which it differs from the base."""
    config: Config

    @property
    def label(self) -> str:
        """The place in a few words."""
        return " ".join(_word(axis, value) for axis, value in self.place.items())


def read_grid(path: Path) -> GridFile:
    """Read a grid file.

    Raises:
        ConfigError: no such file, no TOML, or a key or value that no grid has.
    """
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a grid: {error}") from error
    for key in values:
        if key not in _KEYS:
            raise ConfigError(f"{path}: unknown key {key!r}{nearest(key, _KEYS)}")
    mode, preset = values.get("mode", "leave-one-out"), values.get("preset")
    if mode not in get_args(Mode):
        raise ConfigError(f"{path}: mode: got {mode!r}, wanted one of {', '.join(get_args(Mode))}")
    vary = _table(path, "vary", values)
    for key, several in vary.items():
        if not isinstance(several, list):
            raise ConfigError(f"{path}: vary.{key}: got {several!r}, wanted a list of values")
    grid = Grid(
        mode=mode,
        vary={key: _whole_values(key, several) for key, several in vary.items()},
        **{key: _list(path, key, kind, values) for key, kind in _LISTS.items()},
    )
    return GridFile(preset=preset, base=_table(path, "set", values), grid=grid)


def parse_vary(text: str) -> tuple[str, tuple[Any, ...]]:
    """Read ``FIELD=VALUE,VALUE...``; values are written as in TOML, words need no quotes.

    Raises:
        ConfigError: no field or no value.
    """
    name, _, values = text.partition("=")
    if not name or not values:
        raise ConfigError(f"--vary: got {text!r}, wanted FIELD=VALUE,VALUE")
    try:
        parsed = tuple(tomllib.loads(f"values = [{values}]")["values"])
    except tomllib.TOMLDecodeError:
        parsed = tuple(map(_parse_value, values.split(",")))
    return field_name(name), _whole_values(field_name(name), parsed)


def field_name(text: str) -> str:
    """Return a dotted field as the config spells it."""
    return text.removeprefix("--").replace("-", "_")


def axes(grid: Grid, base: Config) -> dict[str, tuple[Any, ...]]:
    """Return the grid's axes with their values, slowest first; arms only if there are any."""
    varied = dict(grid.vary)
    if grid.actors:
        varied = {ACTORS: grid.actors, **varied}
    found: dict[str, tuple[Any, ...]] = {}
    if grid.components:
        found[ARM] = tuple(arms(grid.components, grid.mode))
    found[ENV] = grid.envs or (base.env.id,)
    found |= varied
    found[SEED] = grid.seeds or (base.seed,)
    return found


def arms(components: Sequence[str], mode: Mode) -> dict[str, dict[str, Any]]:
    """Return name -> overrides of each arm of the ablation.

    leave-one-out: everything, then everything but one component. add-one: none of the components,
    then each alone, then everything.

    Raises:
        ConfigError: an unknown component.
    """
    for name in components:
        if name not in COMPONENTS:
            known = list(COMPONENTS)
            raise ConfigError(
                f"components: got {name!r}, wanted some of {', '.join(known)}{nearest(name, known)}"
            )
    if mode == "leave-one-out":
        return {"full": {}} | {f"no_{name}": COMPONENTS[name] for name in components}

    def without(names: Sequence[str]) -> dict[str, Any]:
        return {key: value for name in names for key, value in COMPONENTS[name].items()}

    alone = {f"only_{one}": without([c for c in components if c != one]) for one in components}
    return {"none": without(components)} | alone | {"full": {}}


def expand(grid: Grid, base: Config) -> list[Cell]:
    """Return a cell for each combination of the grid's axes.

    Raises:
        ConfigError: a field that does not exist, a value of the wrong type, a field varied twice.
    """
    by_arm = arms(grid.components, grid.mode)
    found = axes(grid, base)
    _check_axes(grid, found, by_arm)
    treatment = _treatment(found, by_arm)
    cells = []
    for index, values in enumerate(itertools.product(*found.values())):
        place = dict(zip(found, values, strict=True))
        overrides = {key: value for key, value in place.items() if key != ARM}
        overrides |= by_arm.get(place.get(ARM, ""), {})
        named = {"tracking.arm": place[ARM]} if ARM in place else {}
        config = override(base, {**overrides, **treatment, **named})
        cells.append(Cell(index=index, place=place, overrides=overrides, config=config))
    return cells


def override(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return ``config`` with dotted fields changed.

    Raises:
        ConfigError: an unknown field, or a value of the wrong type.
    """
    values = config_to_dict(config)
    for key, value in changes.items():
        *parents, leaf = key.split(".")
        inner = values
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{key}: {parent} is a value, wanted a part of the config")
        inner[leaf] = value
    return config_from_dict(values)


def _treatment(
    found: Mapping[str, tuple[Any, ...]], by_arm: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what says in a cell's config which fields differ between the cells."""
    varied = [key for key, values in found.items() if len(values) > 1]
    fields = {
        "tracking.ablated": dict.fromkeys(key for arm in by_arm.values() for key in arm),
        "tracking.varied": [key for key in varied if key not in (ARM, ENV, SEED)],
    }
    return {name: list(keys) for name, keys in fields.items() if keys}


def _check_axes(
    grid: Grid, found: Mapping[str, tuple[Any, ...]], by_arm: Mapping[str, Mapping[str, Any]]
) -> None:
    for key in (ENV, SEED, *([ACTORS] if grid.actors else [])):
        if key in grid.vary:
            raise ConfigError(f"vary: got {key}, which is an axis already")
    ablated = {key for arm in by_arm.values() for key in arm}
    for key, values in found.items():
        if not values:
            raise ConfigError(f"vary: got no value for {key}, wanted at least one")
        if key in ablated:
            raise ConfigError(f"vary: got {key}, which one of the components switches already")


def _table(path: Path, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of the file with dotted keys, whether written as ``a.b`` or nested."""
    table = values.get(name, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path}: {name}: got {table!r}, wanted a table of fields")
    return {field_name(key): value for key, value in flatten(table).items()}


def _list(path: Path, name: str, kind: type, values: Mapping[str, Any]) -> tuple[Any, ...]:
    several = values.get(name, [])
    found = [whole(value, kind()) for value in several] if isinstance(several, list) else []
    if not isinstance(several, list) or any(type(value) is not kind for value in found):
        raise ConfigError(f"{path}: {name}: got {several!r}, wanted a list of {kind.__name__}")
    return tuple(found)


def _whole_values(key: str, values: Sequence[Any]) -> tuple[Any, ...]:
    """Return the values of a field; 1e5 is an int where the field is one."""
    default = flatten(config_to_dict(Config())).get(key)
    return tuple(whole(value, default) for value in values)


def _parse_value(text: str) -> Any:  # noqa: ANN401  any TOML value
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _word(axis: str, value: object) -> str:
    if axis in (ARM, ENV):
        return str(value)
    return f"s{value}" if axis == SEED else f"{axis.rpartition('.')[2]}={value}"

"""The answer to ``--print-config``: every field, its value, and where that came from."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Set as AbstractSet

from rich.console import Console
from rich.table import Table
from rich.text import Text

from efficientzero.config import Config, config_to_dict, flatten

_COMMAND_LINE = "command line"
_STYLES = {"default": "dim", _COMMAND_LINE: "bold green"}


def field_sources(
    config: Config, base: Config, preset: str, *, named: AbstractSet[str]
) -> dict[str, str]:
    """Return for each dotted field: ``default``, ``preset NAME`` or ``command line``.

    Args:
        config: the resolved configuration.
        base: the preset it started from.
        preset: that preset's name.
        named: dotted fields that the command line names, even if their value did not change.
    """
    values, preset_values = flatten(config_to_dict(config)), flatten(config_to_dict(base))
    defaults = flatten(config_to_dict(Config()))

    def source(key: str) -> str:
        # Arguments of the environment are fields only where they are given.
        if key in named or values[key] != preset_values.get(key):
            return _COMMAND_LINE
        if key == "preset":
            return "chosen for this machine"
        return f"preset {preset}" if values[key] != defaults.get(key) else "default"

    return {key: source(key) for key in values}


def config_table(config: Config, base: Config, preset: str, *, named: AbstractSet[str]) -> str:
    """Return the fields as an aligned table, one group per part, coloured on a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("field", "value", "from"):
        table.add_column(heading, no_wrap=True)
    values, group = flatten(config_to_dict(config)), ""
    for key, source in field_sources(config, base, preset, named=named).items():
        part = key.rpartition(".")[0]
        if part != group:
            group = part
            table.add_row()
        style = _STYLES.get(source, "cyan")
        table.add_row(key, Text(_shown(values[key]), style), Text(source, style))
    return _render(table)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return repr(value) if value == "" else str(value)


def _render(table: Table) -> str:
    is_terminal = sys.stdout.isatty()
    width = max(shutil.get_terminal_size().columns, 100) if is_terminal else 200
    text = io.StringIO()
    Console(file=text, width=width, force_terminal=is_terminal).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

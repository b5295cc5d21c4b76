"""Build hooks of the site (``mkdocs.yml``): pages made from the code, and links out of ``docs/``.

Pages of the repository that lie outside ``docs/`` are part of the site, and the reference of the
command line is what ``--help`` prints. A link that works in the repository works on the site: to
a page it leads there, to a source file it becomes the file's name. A link to nothing is a warning,
which ``make docs`` treats as an error.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import logging
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from efficientzero.config import PRESETS, Config, config_to_dict, flatten, load_preset

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

OUTSIDE_PAGES = {
    "ARCHITECTURE.md": "design/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "mcts_cpp/README.md": "reference/mcts_cpp.md",
}
"""Path in the repository -> path on the site."""

COMMAND_LINE_PAGE = "reference/cli.md"
CONFIG_PAGE = "reference/config.md"
ROLES = ("replay", "learner", "reanalyzer", "actor", "actor.evaluator")
TOOLS = ("deploy.health",)

_LINK = re.compile(
    r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)"
)
_TABLE_ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
_CODE = re.compile(r"`[^`]+`")
_HELP_TIMEOUT_S = 120
_AT_ONCE = 4
"""Commands that print their help at the same time; most of them import torch."""
_log = logging.getLogger("mkdocs.hooks.generate")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of ``docs/``."""
    for source, uri in OUTSIDE_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=text))
    files.append(File.generated(config, COMMAND_LINE_PAGE, content=command_line_page()))
    files.append(File.generated(config, CONFIG_PAGE, content=config_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make the page's links right for the site."""
    del config, files
    uri = page.file.src_uri
    sources = {site: source for source, site in OUTSIDE_PAGES.items()}
    source = ROOT / sources[uri] if uri in sources else DOCS / uri
    return _TABLE_ROW.sub(_without_escapes, site_links(markdown, source, uri))


def site_links(markdown: str, source: Path, uri: str) -> str:
    """Return the text with links between repository files turned into links of the site.

    Args:
        markdown: text of a page.
        source: the file that it comes from; its links are relative to this file's folder.
        uri: the page's path on the site.
    """

    def replace(match: re.Match[str]) -> str:
        target = match["target"]
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = (source.parent / target).resolve()
        if not path.exists():
            if source.is_relative_to(DOCS):
                return match[0]  # Perhaps a generated page; mkdocs warns where it is none.
            _log.warning("%s links to %s, which does not exist", source.relative_to(ROOT), target)
            return match[0]
        name = path.relative_to(ROOT).as_posix()
        if path.is_relative_to(DOCS):
            there = path.relative_to(DOCS).as_posix()
        elif name in OUTSIDE_PAGES:
            there = OUTSIDE_PAGES[name]
        else:
            text = match["text"]
            return text if name in text else f"{text} (`{name}`)"
        relative = posixpath.relpath(there, posixpath.dirname(uri) or ".")
        return f"{match['image']}[{match['text']}]({relative}{match['anchor'] or ''})"

    return _LINK.sub(replace, markdown)


def _without_escapes(row: re.Match[str]) -> str:
    r"""Return a table's row whose code needs no escapes, and may be wrapped between words."""
    return _CODE.sub(lambda code: code[0].replace("\\|", " | "), row[0])


def command_line_page() -> str:
    """Return the page of all commands: what each prints with ``--help``."""
    launch = ("launch.py",)
    text = _help_texts([launch])[launch]
    subcommands = sorted(set(re.findall(r"python launch\.py ([a-z]+)\b", text)))
    if not subcommands:
        raise PluginError("launch.py --help names none of its commands")
    commands: list[tuple[str, ...]] = [("launch.py", name) for name in subcommands]
    commands += [("-m", role) for role in ROLES + TOOLS]
    parts = [
        "# Command line",
        "What each command prints with `--help`, from the code this site was built with. "
        "`python launch.py` is the one that a person needs; the roles are started by it, or by "
        "hand on [many machines](../guide/machines.md).",
    ]
    for command, whole_text in ({launch: text} | _all_help_texts(commands)).items():
        help_text, _, fields = whole_text.partition("╭─ env options")
        parts += [f"## python {' '.join(command)}", f"````text\n{help_text.strip()}\n````"]
        if fields:
            parts.append("Then every field of the [configuration](config.md).")
    return "\n\n".join(parts) + "\n"


def config_page() -> str:
    """Return the page of all fields of the configuration: default, meaning, presets' values."""
    presets = {name: flatten(config_to_dict(load_preset(name))) for name in PRESETS}
    defaults = flatten(config_to_dict(Config()))
    parts = [
        "# Configuration",
        "Every field with its default and meaning, from the code this site was built with. Each is "
        "an option of `launch.py`: `learner.batch_size` is `--learner.batch-size`. Values come "
        "from the command line, else from the preset, else from here; `--print-config` shows "
        "which. What it means to leave a component out: [switches](switches.md).",
    ]
    for section, fields in _sections(Config, ""):
        rows = ["| field | default | meaning | presets |", "|---|---|---|---|"]
        for name, meaning in fields:
            default = defaults.get(name, {})
            others: dict[str, list[str]] = {}
            for preset, values in presets.items():
                if values.get(name, default) != default and name != "preset":
                    others.setdefault(f"`{values[name]}`", []).append(preset)
            cell = "; ".join(f"{value}: {', '.join(names)}" for value, names in others.items())
            cells = (f"`{name}`", f"`{default!r}`", meaning, cell)
            rows.append("| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |")
        parts += [f"## {section}", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def _sections(record: type[Any], prefix: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield title and (name, docstring) of the fields of a dataclass and those inside it."""
    inner = {f.name: f.default_factory for f in dataclasses.fields(record)}
    meanings = _field_docstrings(record)
    nested = {n: kind for n, kind in inner.items() if dataclasses.is_dataclass(kind)}
    own = [(prefix + name, meanings.get(name, "")) for name in inner if name not in nested]
    if own:
        yield prefix.rstrip(".") or "run", own
    for name, kind in nested.items():
        assert isinstance(kind, type)
        yield from _sections(kind, f"{prefix}{name}.")


def _field_docstrings(record: type[Any]) -> dict[str, str]:
    body = ast.parse(inspect.getsource(record)).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            assert isinstance(statement.target, ast.Name)
            texts[statement.target.id] = " ".join(ast.literal_eval(following.value).split())
    return texts


def _all_help_texts(commands: list[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    texts: dict[tuple[str, ...], str] = {}
    for first in range(0, len(commands), _AT_ONCE):
        texts |= _help_texts(commands[first : first + _AT_ONCE])
    return texts


def _help_texts(commands: list[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    running = {
        command: subprocess.Popen(
            [sys.executable, *command, "--help"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    }
    texts = {}
    try:
        for command, process in running.items():
            texts[command], _ = process.communicate(timeout=_HELP_TIMEOUT_S)
            if process.returncode != 0:
                line = f"{' '.join(command)} --help ended with {process.returncode}"
                raise PluginError(f"{line}:\n{texts[command]}")
    finally:
        for process in running.values():
            process.kill()
    return texts

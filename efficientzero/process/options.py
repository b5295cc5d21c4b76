"""Rules of every command line: ``--help``, ``--version``, whole numbers, errors in one line.

Used by ``launch.py`` and its commands, by the roles and by the tools. The parser itself is tyro.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro

_Options = TypeVar("_Options")

_DISTRIBUTION = "efficientzero-distributed"
_CHECKOUT = Path(__file__).resolve().parents[2]
_LAST_PORT = 65_535
_MOST_DIGITS = 30
"""No option needs more; 1e999999999 would fill the memory."""
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_FRAME = "╭╮╰╯│ "
_RULE = re.compile(r"─{4,}|-{4,}")  # the latter where the terminal is not UTF-8's
_ANY_WIDTH = "10000"  # columns, so that tyro wraps no line of its messages
_PERHAPS = "Perhaps you meant:"
_NO_ALTERNATIVE = re.compile(r"no type matching .* - <class '[\w.]+'>: ")
"""tyro's words for an optional option; the message of its type follows."""
_SEVERAL = re.compile(r"(?:(--[\w.-]+): )?Could not find valid parse for arguments: \[(.*)\]")
_SEPARATORS = re.compile(r"[\s,;()\[\]]+")  # of lists in other languages
_CHOICES = re.compile(r"invalid choice '([^']*,[^']*)' for argument '(--[\w.-]+)'\.")
_NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def parse_options(
    kind: Any,  # noqa: ANN401  a dataclass, or a union of them
    arguments: Sequence[str],
    *,
    prog: str,
    description: str | None = None,
    default: _Options | None = None,
    registry: tyro.constructors.ConstructorRegistry | None = None,
) -> Any:  # noqa: ANN401  what ``kind`` names
    """Parse a command line; a mistake, ``--help`` or ``--version`` ends the process.

    Args:
        kind: the dataclass of the options, or a union of subcommands.
        arguments: the command line without the program's name.
        prog: the command, for messages.
        description: text for ``--help``. Default: the dataclass's docstring.
        default: values of options that are not given.
        registry: further rules for parsing types.

    Raises:
        SystemExit: with 2 after a mistake, reported in one line; with 0 after ``--help`` and
            ``--version``.
    """
    if wants_version(arguments):
        print(f"{prog}: {version_text()}")
        sys.exit(0)
    further: dict[str, Any] = {} if default is None else {"default": default}
    about = f"{description or inspect.getdoc(kind)}\n\n--version prints the version."
    said = io.StringIO()
    with _own_rules(), _columns(None if wants_help(arguments) else _ANY_WIDTH):
        try:
            with contextlib.redirect_stderr(said):
                parsed = tyro.cli(
                    kind,
                    args=list(arguments),
                    prog=prog,
                    description=about,
                    registry=registry,
                    **further,
                )
        except SystemExit as end:
            if end.code:
                refuse_options(prog, one_line_of(said.getvalue()))
            raise
    sys.stderr.write(said.getvalue())  # warnings
    return parsed


def refuse_options(prog: str, what: str) -> NoReturn:
    """End the process with one line and the exit code of wrong options."""
    print(f"{prog}: error: {what}", file=sys.stderr)
    sys.exit(2)


def wants_help(arguments: Sequence[str]) -> bool:
    """Return whether the command line asks for help; then nothing else in it matters."""
    return any(argument in ("-h", "--help") for argument in arguments)


def wants_version(arguments: Sequence[str]) -> bool:
    """Return whether the command line asks for the version."""
    return "--version" in arguments


def version_text() -> str:
    """Return the version, the checkout's commit and Python's version."""
    try:
        version = metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        version = "not installed"
    commit = git_commit(_CHECKOUT)
    parts = [f"{_DISTRIBUTION} {version}", *([f"commit {commit}"] if commit else [])]
    return ", ".join([*parts, f"Python {platform.python_version()}"])


def git_commit(checkout: Path) -> str:
    """Return the commit of a checkout, marked ``-dirty`` if changed; empty where there is none."""
    if not (checkout / ".git").exists():
        return ""
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    command = ["git", "-C", str(checkout), *describe]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5.0, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def whole_number(text: str) -> int:
    """Read an integer: ``100000``, ``100_000``, ``1e5`` or ``1.5e3``.

    Raises:
        ValueError: not a whole number, or one of more than 30 digits.
    """
    try:
        number = Decimal(text.strip())
        is_whole = number.is_finite() and number.adjusted() < _MOST_DIGITS
        if is_whole and number == number.to_integral_value():
            return int(number)
    except InvalidOperation:
        pass
    raise ValueError(f"got {text!r}, wanted a whole number such as 100000, 100_000 or 1e5")


def port_problem(address: str) -> str | None:
    """Return the error of the port in ``host:port``, empty if it is valid; None: no address."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return None
    if 0 < int(port) <= _LAST_PORT:
        return ""
    extent = "large" if int(port) else "small"
    return f"got {address}, whose port is too {extent}: wanted one of 1 to {_LAST_PORT}"


def named_path(text: str) -> Path:
    """Read a path.

    Raises:
        ValueError: it is empty, which would mean the working directory.
    """
    if not text.strip():
        raise ValueError(f"got {text!r}, wanted a path")
    return Path(text)


def one_line_of(box: str) -> str:
    """Return the message in one of tyro's boxes, without frame, help texts and line breaks."""
    sections: list[list[str]] = [[]]
    for line in _COLOUR.sub("", box).splitlines()[1:]:  # the first one is the title
        row = line.strip(_FRAME)
        if _RULE.fullmatch(row):
            sections.append([])
        elif row:
            sections[-1].append(row)
    sections = list(filter(None, sections))
    if not sections:
        return " ".join(box.split())
    message = _NO_ALTERNATIVE.sub("", " ".join(sections[0]).removeprefix("Error parsing "))
    message = _SEVERAL.sub(_several_values, message)
    if (choices := _CHOICES.search(message)) is not None:
        message += f" With spaces between them: {choices[2]} {choices[1].replace(',', ' ')}"
    for first, *others in sections[1:]:
        meant = [row.split()[0].strip(",") for row in others if row.startswith("--")]
        if first == _PERHAPS and meant:
            message += f" (did you mean {', '.join(dict.fromkeys(meant))}?)"
    return message


def _several_values(found: re.Match[str]) -> str:
    """Return the message for an option of several values; of numbers, with the right spelling."""
    option, words = found.groups(default="")
    given = " ".join(map(str, ast.literal_eval(f"[{words}]")))
    values = list(filter(None, _SEPARATORS.split(given)))
    name = f"{option}: " if option else ""
    if not option or not all(map(_NUMBER.fullmatch, values)) or given.split() == values:
        return f"{name}got {words}, not all of which are what --help says"
    return f"{name}got {words}, wanted spaces between the values: {' '.join([option, *values])}"


@contextlib.contextmanager
def _columns(width: str | None) -> Iterator[None]:
    """Set the terminal width that tyro formats for; None: the actual width."""
    before = os.environ.get("COLUMNS")
    if width is not None:
        os.environ["COLUMNS"] = width
    try:
        yield
    finally:
        if width is not None:
            del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def _own_rules() -> tyro.constructors.ConstructorRegistry:
    """Return the rules that let ``int`` options take 1e5 and refuse empty paths."""
    registry = tyro.constructors.ConstructorRegistry()

    def read_by(kind: type, metavar: str, read: Callable[[str], Any]) -> None:
        @registry.primitive_rule
        def rule(info: Any) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:  # noqa: ANN401
            if info.type is not kind:
                return None
            return tyro.constructors.PrimitiveConstructorSpec(
                nargs=1,
                metavar=metavar,
                instance_from_str=lambda words: read(words[0]),
                is_instance=lambda value: isinstance(value, kind),
                str_from_instance=lambda value: [str(value)],
            )

    read_by(int, "INT", whole_number)
    read_by(Path, "PATH", named_path)

    return registry

"""Names that wandb accepts: characters and lengths.

Checked before a run starts. wandb's client checks only the project, when a process begins its run;
its server checks the rest at the upload, too late for a run recorded offline.
"""

from __future__ import annotations

import re

_MAX_LENGTHS = {
    "entity": 128,
    "project": 128,
    "group": 128,
    "name": 128,
    "job_type": 64,
    "id": 128,
}
_ENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_IN_PROJECTS = "/\\#?%:"
_SHOWN_LENGTH = 40


def check_wandb_name(what: str, value: str, label: str = "") -> None:
    """Check one name.

    Args:
        what: entity, project, group, name, job_type or id.
        value: the name.
        label: what the message calls it; default ``wandb <what>``.

    Raises:
        ValueError: one line: what was got and what was wanted.
    """
    label = label or f"wandb {what}"
    longest = _MAX_LENGTHS[what]
    if not 0 < len(value) <= longest:
        shown = value if len(value) <= _SHOWN_LENGTH else f"{value[:_SHOWN_LENGTH]}..."
        raise ValueError(f"{label}: got {len(value)} characters ({shown!r}), wanted 1 to {longest}")
    if what == "entity" and not _ENTITY.fullmatch(value):
        raise ValueError(
            f"{label}: got {value!r}, wanted letters, digits and . _ -, the first a letter or digit"
        )
    if what == "project" and not _is_project(value):
        raise ValueError(
            f"{label}: got {value!r}, wanted no {' '.join(_NOT_IN_PROJECTS)}, nothing that cannot "
            "be printed, and no space at either end"
        )


def _is_project(value: str) -> bool:
    is_plain = value.isprintable() and value == value.strip() and value.strip(".") != ""
    return is_plain and not any(character in value for character in _NOT_IN_PROJECTS)

"""What wandb accepts: characters and lengths of names, and environment variables.

Checked before a run starts. Of names wandb's client checks only the project, when a process begins
its run, and its server the rest at the upload: too late for what was recorded offline.
"""

from __future__ import annotations

import os
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

_INHERITED = (
    "WANDB_ENTITY",
    "WANDB_NAME",
    "WANDB_PROJECT",
    "WANDB_RESUME",
    "WANDB_RUN_GROUP",
    "WANDB_RUN_ID",
    "WANDB_SERVICE",
    "WANDB_SWEEP_ID",
    "WANDB_SWEEP_PARAM_PATH",
)
"""Would make this process part of somebody else's run (a parent's, a sweep agent's), or are refused
by wandb where they are no names, though the run's own replace them."""
_SECRET = re.compile("KEY|TOKEN|PASSWORD|SECRET")

_BOUNDS = {
    # Without these, init without a network takes 33 minutes; as Settings they come too late.
    "WANDB__GRAPHQL_RETRY_MAX": "4",
    "WANDB__GRAPHQL_RETRY_WAIT_MAX_SECONDS": "5",
    "WANDB_HTTP_TIMEOUT": "10",
    "WANDB__DISABLE_VIEWER": "true",
    # By default rows are given up after some minutes of absence, and finish does not say so.
    "WANDB__FILE_STREAM_RETRY_MAX": "1000000",
    "WANDB_ERROR_REPORTING": "false",
}


def check_wandb_name(what: str, value: str, label: str = "") -> None:
    """Check one name.

    Args:
        what: entity, project, group, name, job_type or id.
        value: the name.
        label: name used in the message; default ``wandb <what>``.

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


def check_environment() -> None:
    """Check the variables that wandb reads, before they keep every process from recording.

    Raises:
        ValueError: one line, with the variable that wandb refuses.
    """
    read = {name for name in os.environ if name.startswith("WANDB_")}
    names = sorted(read - {"WANDB_MODE", *_INHERITED})
    if not names:
        return
    import wandb  # noqa: PLC0415  1.2 s: only for those who set such a variable

    for name in names:
        try:
            wandb.Settings().update_from_env_vars({name: os.environ[name]})
        except Exception as error:
            shown = "a value" if _SECRET.search(name) else repr(os.environ[name])
            # pydantic's own text has several lines and repeats the value.
            details = error.errors() if hasattr(error, "errors") else [{"msg": str(error)}]
            raise ValueError(f"{name}: got {shown}; wandb says: {details[0]['msg']}") from error


def limit_environment() -> None:
    """Take from this process what would make it part of another run, and bound wandb's waits."""
    for name in _INHERITED:
        os.environ.pop(name, None)
    for name, value in _BOUNDS.items():
        os.environ.setdefault(name, value)

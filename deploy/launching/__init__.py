"""From a command line to a run that can start."""

from deploy.launching.command_line import (
    Options,
    ShortOptions,
    named_fields,
    named_option,
    parse,
    refuse_removed,
    with_compat,
    with_short_options,
)
from deploy.launching.components import COMPONENTS
from deploy.launching.config_checks import check_config
from deploy.launching.env_kwargs import REGISTRY, join_kwargs, kwarg_text
from deploy.launching.explain import config_table
from deploy.launching.groups import distance_from_presets
from deploy.launching.prepare import Prepared, is_complete, prepare, prepare_resume
from deploy.launching.run_lock import run_lock
from deploy.launching.serve import existing_run

__all__ = [
    "COMPONENTS",
    "REGISTRY",
    "Options",
    "Prepared",
    "ShortOptions",
    "check_config",
    "config_table",
    "distance_from_presets",
    "existing_run",
    "is_complete",
    "join_kwargs",
    "kwarg_text",
    "named_fields",
    "named_option",
    "parse",
    "prepare",
    "prepare_resume",
    "refuse_removed",
    "run_lock",
    "with_compat",
    "with_short_options",
]

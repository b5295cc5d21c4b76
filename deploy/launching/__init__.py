"""From a command line to a run that can start."""

from deploy.launching.command_line import (
    ShortOptions,
    named_option,
    refuse_removed,
    with_compat,
    with_short_options,
)
from deploy.launching.components import COMPONENTS
from deploy.launching.config_checks import check_config
from deploy.launching.env_kwargs import REGISTRY, join_kwargs, kwarg_text
from deploy.launching.groups import distance_from_presets, is_used
from deploy.launching.plan import make_plan
from deploy.launching.tokens import local_credentials

__all__ = [
    "COMPONENTS",
    "REGISTRY",
    "ShortOptions",
    "check_config",
    "distance_from_presets",
    "is_used",
    "join_kwargs",
    "kwarg_text",
    "local_credentials",
    "make_plan",
    "named_option",
    "refuse_removed",
    "with_compat",
    "with_short_options",
]

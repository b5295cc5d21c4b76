"""Groups of compat switches, as ``--compat`` names them.

Called by the launcher. docs/reference/compat.md describes each switch.
"""

from __future__ import annotations

from efficientzero.config.agent_fields import CompatConfig
from efficientzero.config.files import ConfigError
from efficientzero.config.spelling import nearest

COMPAT_GROUPS = {
    "none": CompatConfig(),
    "reference": CompatConfig(
        stale_prefix_bounds=True,
        recomputed_bounds=True,
        root_visit_without_value=True,
        block_length=400,
        random_first_child=True,
        truncation_is_terminal=True,
        gradient_scaling="reference",
        target_weights_lag=1,
        transition_age=True,
        warmup_earns_train_steps=True,
        jpeg_frames=True,
    ),
}
"""``none`` is the default; ``reference`` sets every switch as in the reference implementation."""


def compat_group(name: str) -> CompatConfig:
    """Return the switches of a group.

    Raises:
        ConfigError: no such group; the nearest one is named.
    """
    if name not in COMPAT_GROUPS:
        known = tuple(COMPAT_GROUPS)
        raise ConfigError(
            f"--compat: got {name!r}, wanted one of {', '.join(known)}{nearest(name, known)}"
        )
    return COMPAT_GROUPS[name]

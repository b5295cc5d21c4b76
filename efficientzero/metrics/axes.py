"""The x-axis of each metric: env_steps, train_steps or wall time.

Called by the tracker once per metric. docs/reference/metrics.md names the axis of each; a test
compares them.
"""

from __future__ import annotations

_PROGRESS = {
    "learner": "learner/train_steps",
    "actor": "actor/env_steps",
    "reanalyzer": "reanalyzer/train_steps",
    "replay": "replay/steps_inserted",
    "eval": "eval/env_steps",
    "league": "learner/train_steps",
}
"""First part of a metric's name -> the axis of metrics about learning."""

_MACHINE_GROUPS = ("time", "cpu", "process")
_MACHINE_ENDINGS = ("_per_s", "_s", "_ms", "queue_fill_share", "_bytes")
"""Metrics about the machine, not about learning; drawn over wall time."""


def wall_axis(role: str) -> str:
    """Return the metric of seconds since a process of ``role`` started; the tracker logs it."""
    return f"{role}/wall_s"


def axis_of(metric: str, role: str) -> str:
    """Return the axis of ``metric``, logged by a process of ``role``."""
    first, *group, name = metric.split("/")
    about_machine = bool(group) and group[0] in _MACHINE_GROUPS
    if about_machine or name.endswith(_MACHINE_ENDINGS) or first not in _PROGRESS:
        return wall_axis(role)
    return _PROGRESS[first]

"""Training targets from replayed slices."""

from reanalyzer.targets.priority_refresh import PriorityRefresh, SliceSource
from reanalyzer.targets.slice_targets import slice_ends
from reanalyzer.targets.target_maker import VALUE_TARGETS, TargetMaker
from reanalyzer.targets.value_target import (
    Estimates,
    Needs,
    Sample,
    ValueTarget,
    ValueTargets,
)

__all__ = [
    "VALUE_TARGETS",
    "Estimates",
    "Needs",
    "PriorityRefresh",
    "Sample",
    "SliceSource",
    "TargetMaker",
    "ValueTarget",
    "ValueTargets",
    "slice_ends",
]

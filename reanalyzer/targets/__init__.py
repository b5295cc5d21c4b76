"""Training targets from replayed slices."""

from reanalyzer.targets.priority_refresh import PriorityRefresh, SliceSource
from reanalyzer.targets.slice_targets import slice_ends
from reanalyzer.targets.target_maker import VALUE_TARGETS, TargetMaker

__all__ = ["VALUE_TARGETS", "PriorityRefresh", "SliceSource", "TargetMaker", "slice_ends"]

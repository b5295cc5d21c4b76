"""Training targets from replayed slices."""

from reanalyzer.targets.priority_refresh import PriorityRefresh, SliceSource
from reanalyzer.targets.target_maker import TargetMaker

__all__ = ["PriorityRefresh", "SliceSource", "TargetMaker"]

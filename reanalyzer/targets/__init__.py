"""Training targets from replayed slices."""

from reanalyzer.targets.slice_targets import slice_ends
from reanalyzer.targets.target_maker import VALUE_TARGETS, TargetMaker

__all__ = ["VALUE_TARGETS", "TargetMaker", "slice_ends"]

"""The pace of a run: how much may be collected and trained at any moment."""

from learner.pacing.governor import Governor
from learner.pacing.lock_step import LockStepGovernor
from learner.pacing.recent_set import RecentSet

__all__ = ["Governor", "LockStepGovernor", "RecentSet"]

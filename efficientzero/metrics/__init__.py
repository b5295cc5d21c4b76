"""Numbers about a running process: where its time goes, and where the numbers go."""

from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.metrics.tracker import (
    ModeDecision,
    NullTracker,
    Tracker,
    make_tracker,
    resolve_mode,
)

__all__ = ["ModeDecision", "NullTracker", "SectionTimer", "Tracker", "make_tracker", "resolve_mode"]

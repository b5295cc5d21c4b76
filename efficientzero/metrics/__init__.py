"""Metrics of a running process: timing, and where metric rows are written."""

from efficientzero.metrics.interval import Interval
from efficientzero.metrics.process_usage import ProcessUsage
from efficientzero.metrics.pulse import NO_VITALS, Pulse, Vitals
from efficientzero.metrics.search_rates import SearchRates
from efficientzero.metrics.search_statistics import SearchStatistics
from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.metrics.tracker import (
    ModeDecision,
    NullTracker,
    Tracker,
    make_tracker,
    resolve_mode,
)
from efficientzero.metrics.wandb_limits import check_environment, check_wandb_name
from efficientzero.metrics.wandb_tracker import NOT_UPLOADED_FILE

__all__ = [
    "NOT_UPLOADED_FILE",
    "NO_VITALS",
    "Interval",
    "ModeDecision",
    "NullTracker",
    "ProcessUsage",
    "Pulse",
    "SearchRates",
    "SearchStatistics",
    "SectionTimer",
    "Tracker",
    "Vitals",
    "check_environment",
    "check_wandb_name",
    "make_tracker",
    "resolve_mode",
]

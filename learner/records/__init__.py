"""State that a learner keeps and saves: counts, results, priorities, checkpoints."""

from learner.records.fairness_record import FairnessRecord
from learner.records.own_summary import summarized
from learner.records.priority_feedback import PriorityFeedback, PrioritySink
from learner.records.run_record import EpisodeResult, RunRecord
from learner.records.saver import CheckpointSaver, saver_of

__all__ = [
    "CheckpointSaver",
    "EpisodeResult",
    "FairnessRecord",
    "PriorityFeedback",
    "PrioritySink",
    "RunRecord",
    "saver_of",
    "summarized",
]

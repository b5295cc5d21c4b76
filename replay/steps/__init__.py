"""Writing steps of episodes into replay, and sampling slices of episodes from it."""

from replay.steps.episode_writer import EpisodeWriter
from replay.steps.ordered_sampler import OrderedSampler
from replay.steps.priorities import MIN_PRIORITY, PriorityUpdater, clip_priorities
from replay.steps.slice_sampler import SliceSampler

__all__ = [
    "MIN_PRIORITY",
    "EpisodeWriter",
    "OrderedSampler",
    "PriorityUpdater",
    "SliceSampler",
    "clip_priorities",
]

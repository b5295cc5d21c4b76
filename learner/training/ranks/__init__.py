"""The processes that train one network together, one per device, and the commands between them.

Rank 0 is the learner: it owns batches, pace, weights, checkpoints and metrics. It sends commands to
the others, gives each an equal part of every batch, and trains on one part itself. Gradients,
losses and batch-norm statistics are those of the whole batch. A learner on one device uses
``SingleDevice``.
"""

from learner.training.ranks.commands import End, Idle, Ranks, SingleDevice, State, Step
from learner.training.ranks.group import (
    RankGroup,
    TooFewDevices,
    device_of_rank,
    join_ranks,
    meeting_point,
)

__all__ = [
    "End",
    "Idle",
    "RankGroup",
    "Ranks",
    "SingleDevice",
    "State",
    "Step",
    "TooFewDevices",
    "device_of_rank",
    "join_ranks",
    "meeting_point",
]

"""One train_step: network, loss, optimiser, ranks."""

from learner.training.eval_values import eval_values
from learner.training.network import describe_network, seeded_network
from learner.training.optimizers import adopt_weights, make_optimizer
from learner.training.ranks import (
    Alone,
    End,
    Idle,
    RankGroup,
    Ranks,
    State,
    Step,
    device_of_rank,
    meeting_point,
)
from learner.training.statistics import StepRecord, training_statistics
from learner.training.update import TrainingDiverged, Update, Updater

__all__ = [
    "Alone",
    "End",
    "Idle",
    "RankGroup",
    "Ranks",
    "State",
    "Step",
    "StepRecord",
    "TrainingDiverged",
    "Update",
    "Updater",
    "adopt_weights",
    "describe_network",
    "device_of_rank",
    "eval_values",
    "make_optimizer",
    "meeting_point",
    "seeded_network",
    "training_statistics",
]

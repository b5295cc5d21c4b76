"""One train_step: network, loss, optimiser, ranks."""

from learner.training.collapse import Collapse, CollapseAlarm, TrainingCollapsed
from learner.training.eval_values import eval_values
from learner.training.local_targets import local_targets
from learner.training.network import describe_network, seeded_network
from learner.training.optimizers import make_optimizer
from learner.training.progress import Progress
from learner.training.ranks import (
    End,
    Idle,
    RankGroup,
    Ranks,
    SingleDevice,
    State,
    Step,
    device_of_rank,
    join_ranks,
    meeting_point,
)
from learner.training.statistics import UpdateStatistics, training_statistics
from learner.training.train_state import TrainState
from learner.training.update import TrainingDiverged, Update, Updater

__all__ = [
    "Collapse",
    "CollapseAlarm",
    "End",
    "Idle",
    "Progress",
    "RankGroup",
    "Ranks",
    "SingleDevice",
    "State",
    "Step",
    "TrainState",
    "TrainingCollapsed",
    "TrainingDiverged",
    "Update",
    "UpdateStatistics",
    "Updater",
    "describe_network",
    "device_of_rank",
    "eval_values",
    "join_ranks",
    "local_targets",
    "make_optimizer",
    "meeting_point",
    "seeded_network",
    "training_statistics",
]

"""The processes of a run: places, signs of life, and the cause of a stall."""

from learner.cluster.replay_follower import follow_replay
from learner.cluster.roster import MOST_PLACES, ONLY_ONE, NoPlace, PlaceLost, Roster, Seat
from learner.cluster.starvation import Starvation
from learner.cluster.watch import ClusterWatch, ProcessState

__all__ = [
    "MOST_PLACES",
    "ONLY_ONE",
    "ClusterWatch",
    "NoPlace",
    "PlaceLost",
    "ProcessState",
    "Roster",
    "Seat",
    "Starvation",
    "follow_replay",
]

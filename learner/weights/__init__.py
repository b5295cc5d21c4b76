"""Publishing weights: which ones, and when."""

from learner.weights.league import League
from learner.weights.members import Members, members_of
from learner.weights.publications import Publications
from learner.weights.publisher import WEIGHT_KINDS, PublishedTarget, WeightPublisher
from learner.weights.publishing import Publishing

__all__ = [
    "WEIGHT_KINDS",
    "League",
    "Members",
    "Publications",
    "PublishedTarget",
    "Publishing",
    "WeightPublisher",
    "members_of",
]

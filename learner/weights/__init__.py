"""Publishing weights: which ones, and when."""

from learner.weights.publications import Publications
from learner.weights.publisher import WEIGHT_KINDS, PublishedTarget, WeightPublisher
from learner.weights.publishing import Publishing

__all__ = ["WEIGHT_KINDS", "Publications", "PublishedTarget", "Publishing", "WeightPublisher"]

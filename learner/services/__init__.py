"""The learner's gRPC services: weights, pace and membership."""

from learner.services.claims import Claims
from learner.services.cluster_service import ClusterServicer
from learner.services.server import GrpcServer

__all__ = ["Claims", "ClusterServicer", "GrpcServer"]

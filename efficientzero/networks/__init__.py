"""The EfficientZero network and its categorical support.

Built by actors, reanalyzers, the evaluator and the learner from ``NetworkConfig`` and ``EnvSpec``.
"""

from efficientzero.networks.efficientzero_net import (
    EfficientZeroNet,
    InitialInference,
    RecurrentInference,
)
from efficientzero.networks.scalar_support import ScalarSupport

__all__ = ["EfficientZeroNet", "InitialInference", "RecurrentInference", "ScalarSupport"]

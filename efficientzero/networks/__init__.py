"""The EfficientZero network and the scalars its heads stand for.

Built by actors, reanalyzers, the evaluator and the learner from ``NetworkConfig`` and ``EnvSpec``.
"""

from efficientzero.networks.blocks import Classifier, LstmCell, ResidualBlock, scale_pixels
from efficientzero.networks.conv_trunk import ConvDynamics
from efficientzero.networks.efficientzero_net import (
    EfficientZeroNet,
    InitialInference,
    RecurrentInference,
    inference_entries,
)
from efficientzero.networks.scalar_support import ScalarRegression, ScalarSupport

__all__ = [
    "Classifier",
    "ConvDynamics",
    "EfficientZeroNet",
    "InitialInference",
    "LstmCell",
    "RecurrentInference",
    "ResidualBlock",
    "ScalarRegression",
    "ScalarSupport",
    "inference_entries",
    "scale_pixels",
]

"""The EfficientZero network and the scalars its heads stand for.

Actors, reanalyzers, the evaluator and the learner build it with ``make_network``.
"""

from efficientzero.networks.actions import squashed_gaussian
from efficientzero.networks.actions.codes import IndexPlane
from efficientzero.networks.blocks import LstmCell, ResidualBlock, scale_pixels
from efficientzero.networks.classifiers import (
    Classifier,
    NoisyLinear,
    draw_noise,
    noisy_layers,
    silence,
)
from efficientzero.networks.efficientzero_net import (
    EfficientZeroNet,
    InitialInference,
    RecurrentInference,
    make_network,
)
from efficientzero.networks.heads import (
    AUXILIARY_HEADS,
    Heads,
    auxiliary_heads_of,
    inference_entries,
    new_in_forks,
    training_only,
)
from efficientzero.networks.images.conv_trunk import ConvDynamics
from efficientzero.networks.node_answers import (
    AnswerRule,
    NodeAnswers,
    StepAnswers,
    node_answers,
    step_answers,
)
from efficientzero.networks.supports import (
    AtomSupport,
    ScalarRegression,
    ScalarSupport,
    ValueSupport,
    distribution_loss,
    project,
)
from efficientzero.networks.trunks import TRUNKS

__all__ = [
    "AUXILIARY_HEADS",
    "TRUNKS",
    "AnswerRule",
    "AtomSupport",
    "Classifier",
    "ConvDynamics",
    "EfficientZeroNet",
    "Heads",
    "IndexPlane",
    "InitialInference",
    "LstmCell",
    "NodeAnswers",
    "NoisyLinear",
    "RecurrentInference",
    "ResidualBlock",
    "ScalarRegression",
    "ScalarSupport",
    "StepAnswers",
    "ValueSupport",
    "auxiliary_heads_of",
    "distribution_loss",
    "draw_noise",
    "inference_entries",
    "make_network",
    "new_in_forks",
    "node_answers",
    "noisy_layers",
    "project",
    "scale_pixels",
    "silence",
    "squashed_gaussian",
    "step_answers",
    "training_only",
]

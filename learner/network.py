"""The network that a learner trains, as the run's seed makes it.

Built by every rank of a learner, always the same one.
"""

from __future__ import annotations

import torch

from efficientzero.networks import EfficientZeroNet
from efficientzero.run_folder import RunInfo
from efficientzero.runtime import seed_sequence


def make_network(run: RunInfo) -> EfficientZeroNet:
    """Build the network from the run's seed, on the CPU; with a projector only if it has a loss."""
    config = run.config
    seed = int(seed_sequence(config.seed, "learner", 0).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's initialisers know only the global generator
        return EfficientZeroNet(
            config.network,
            run.env_spec,
            value_prefix=config.agent.value_prefix,
            projection=config.learner.consistency_coefficient > 0,
        )

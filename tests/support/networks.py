"""Networks of tests that choose sizes and leave the rest of the config as it is."""

from torch import Tensor

from efficientzero.config.fields import AgentConfig, Config, NetworkConfig
from efficientzero.networks import (
    EfficientZeroNet,
    InitialInference,
    RecurrentInference,
    make_network,
)
from efficientzero.schema import EnvSpec


def tensors_of(*outputs: InitialInference | RecurrentInference) -> tuple[Tensor, ...]:
    """Return what the heads that there are answered, in order."""
    return tuple(tensor for output in outputs for tensor in output if tensor is not None)


def sized_network(
    sizes: NetworkConfig, spec: EnvSpec, *, value_prefix: bool = True, training: bool = False
) -> EfficientZeroNet:
    """Return a network with these sizes; its weights come from torch's generator."""
    agent = AgentConfig(value_prefix=value_prefix, value_prefix_horizon=5 if value_prefix else 1)
    return make_network(Config(network=sizes, agent=agent), spec, training=training)

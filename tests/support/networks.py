"""Networks of tests that choose sizes and leave the rest of the config as it is."""

from efficientzero.config.fields import AgentConfig, Config, NetworkConfig
from efficientzero.networks import EfficientZeroNet, make_network
from efficientzero.schema import EnvSpec


def sized_network(
    sizes: NetworkConfig, spec: EnvSpec, *, value_prefix: bool = True, training: bool = False
) -> EfficientZeroNet:
    """Return a network with these sizes; its weights come from torch's generator."""
    agent = AgentConfig(value_prefix=value_prefix, value_prefix_horizon=5 if value_prefix else 1)
    return make_network(Config(network=sizes, agent=agent), spec, training=training)

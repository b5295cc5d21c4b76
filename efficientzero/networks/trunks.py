"""The table of trunks: a new one is a file with its ``Trunk`` and a row here.

``network.trunk`` names the row; ``auto`` takes the observation's own.
"""

from __future__ import annotations

from collections.abc import Callable

from efficientzero.config import NetworkConfig, trunk_of
from efficientzero.networks.blocks import Trunk
from efficientzero.networks.images.conv_trunk import make_conv_trunk
from efficientzero.networks.mlp_trunk import make_mlp_trunk
from efficientzero.schema import EnvSpec

TRUNKS: dict[str, Callable[[NetworkConfig, EnvSpec], Trunk]] = {
    "conv": make_conv_trunk,
    "mlp": make_mlp_trunk,
}


def make_trunk(config: NetworkConfig, spec: EnvSpec) -> Trunk:
    """Build the trunk that ``config`` chooses for the observations of ``spec``."""
    return TRUNKS[trunk_of(config, spec)](config, spec)

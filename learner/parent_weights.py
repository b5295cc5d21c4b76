"""A run that begins with another run's weights: network, moments, target weights, train_step.

Called by ``resume`` while the run has no checkpoint of its own. Everything else is the run's own:
its options, seeds, results and counts of what it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def adopt_weights(
    network: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    """Load another run's weights and its optimiser's moments.

    Args:
        network: of the same shapes; it may lack the projector, whose parameters come last.
        optimizer: keeps its own learning rate, momentum and decay.
        state: the other run's checkpoint.

    Raises:
        RuntimeError: weights are missing or have other shapes.
    """
    wanted = network.state_dict()
    network.load_state_dict({k: v for k, v in state["network"].items() if k in wanted})
    groups = optimizer.state_dict()["param_groups"]
    of_ours = {index for group in groups for index in group["params"]}
    moments = {i: m for i, m in state["optimizer"]["state"].items() if i in of_ours}
    optimizer.load_state_dict({"state": moments, "param_groups": groups})

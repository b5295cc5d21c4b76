"""How long one simulation of a number of roots takes here: what roles size themselves by.

Called at start by the actor (environments) and the reanalyzer (roots at once).
"""

from __future__ import annotations

import math
import time

import torch

from efficientzero.config import SearchConfig
from efficientzero.inference import LatentPool, SearchNetwork
from efficientzero.networks import EfficientZeroNet
from efficientzero.node_pools import NODES, NUM_INDEX_ROWS

_ROUNDS = 3


@torch.inference_mode()
def step_seconds(
    search: SearchConfig, network: EfficientZeroNet, device: torch.device, size: int
) -> float:
    """Return the fastest of a few simulation steps of ``size`` roots, seconds."""
    as_searched = SearchNetwork(
        network, backend=search.inference_backend, precision=search.precision, batch_size=size
    )
    pool = LatentPool(as_searched, size, num_nodes=2)
    indices = torch.zeros((NUM_INDEX_ROWS, size), dtype=torch.int32, device=device)
    indices[NODES] = 1
    fastest = math.inf
    for _ in range(_ROUNDS + 1):  # the first may still compile
        started = time.perf_counter()
        pool.step(indices, node=1).cpu()  # waits for the device
        fastest = min(fastest, time.perf_counter() - started)
    return fastest

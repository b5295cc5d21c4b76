"""Times one simulation by number of roots, so that roles can choose their sizes.

Called at start by the actor (environments) and the reanalyzer (roots at once), while every other
process of the run starts too. On a CPU the clock therefore counts only this process's own CPU
time, which others on the machine hardly change, and the sizes take turns, so that a slow moment
meets them all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

import torch

from efficientzero.config import SearchConfig
from efficientzero.inference.node_pools import NODES, NUM_INDEX_ROWS
from efficientzero.inference.sampled_steps import SlotShape
from efficientzero.inference.search_network import LatentPool, SearchNetwork
from efficientzero.networks import EfficientZeroNet

_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 20
_ENOUGH_S = 0.5
"""Further rounds are begun until this is over: where a step takes milliseconds, many are."""


def step_clock(device: torch.device) -> Callable[[], float]:
    """Return the clock for work on ``device``, in seconds: CPU time, or wall time on a GPU."""
    return time.process_time if device.type == "cpu" else time.perf_counter


@torch.inference_mode()
def step_seconds(
    search: SearchConfig, network: EfficientZeroNet, device: torch.device, sizes: Iterable[int]
) -> dict[int, float]:
    """Return the fastest of a few simulation steps of each number of roots.

    Args:
        search: backend and precision.
        network: in eval mode on ``device``.
        device: where the network lives.
        sizes: numbers of roots.

    Returns:
        Seconds by size, in the order of ``sizes``: of ``step_clock``.
    """
    clock = step_clock(device)
    steps = {size: _step_of(search, network, device, size) for size in sizes}
    fastest = dict.fromkeys(steps, math.inf)
    for step in steps.values():  # the first may still compile
        step()
    end = time.perf_counter() + _ENOUGH_S
    for done in range(_MOST_ROUNDS):
        if done >= _FEWEST_ROUNDS and time.perf_counter() > end:
            break
        for size, step in steps.items():
            started = clock()
            step()
            fastest[size] = min(fastest[size], clock() - started)
    return fastest


def _step_of(
    search: SearchConfig, network: EfficientZeroNet, device: torch.device, size: int
) -> Callable[[], object]:
    """Return a step of ``size`` roots that waits for the device."""
    as_searched = SearchNetwork(
        network, backend=search.inference_backend, precision=search.precision, batch_size=size
    )
    slots = SlotShape.of(network.spec, search)
    pool = LatentPool(as_searched, size, num_nodes=2, slots=slots)
    indices = torch.zeros((NUM_INDEX_ROWS, size), dtype=torch.int32, device=device)
    indices[NODES] = 1
    return lambda: pool.step(indices, node=1).cpu()

"""A reanalyzer's search: how many roots it searches at once, timed at start or as configured.

Called by ``reanalyzer.__main__``. One training batch needs up to B * (K + 1) roots for policies
and, if values are searched too, as many again. They are cut into equal parts; the size with the
lowest cost per root depends on the device.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np
import torch

from efficientzero.config import Config, most_roots
from efficientzero.inference import step_seconds
from efficientzero.networks import EfficientZeroNet
from efficientzero.schema import EnvSpec
from efficientzero.search import Planner, make_planner

_SMALLEST = 32
_LARGEST = 2_048  # bounds the pool's memory: 1.4 GB with the Atari network and 50 simulations
_DEFAULT_SIZE = 256
_TOLERANCE = 1.05  # a larger batch that costs this much more per root has less overhead elsewhere

log = logging.getLogger(__name__)


def value_batch_size(config: Config, search_batch_size: int) -> int:
    """Return how many observations the network evaluates at once: those of a search, if any."""
    is_searched = most_roots(config) > 1
    return search_batch_size if is_searched else _DEFAULT_SIZE


def equal_parts(num_roots: int, largest: int) -> int:
    """Return the size of the fewest equal parts of ``num_roots`` that are at most ``largest``."""
    return math.ceil(num_roots / math.ceil(num_roots / largest))


def candidate_sizes(num_roots: int) -> list[int]:
    """Return sizes worth timing, largest first: 1, 1/2, 1/4 ... of ``num_roots``."""
    sizes = [equal_parts(num_roots, _LARGEST)]
    while sizes[-1] > _SMALLEST:
        sizes.append(math.ceil(sizes[-1] / 2))
    return sizes


def choose_size(seconds: Mapping[int, float]) -> int:
    """Return the largest size whose seconds per root are within 5 % of the best."""
    per_root = {size: cost / size for size, cost in seconds.items()}
    limit = min(per_root.values()) * _TOLERANCE
    chosen = max(size for size, cost in per_root.items() if cost <= limit)
    costs = ", ".join(f"{size}: {1e6 * cost:.0f}" for size, cost in per_root.items())
    log.info("search %d roots at once (us per root and simulation: %s)", chosen, costs)
    return chosen


def root_batch_size(config: Config, network: EfficientZeroNet, device: torch.device) -> int:
    """Return the configured size, or the fastest on ``device`` for this network; any if none is.

    The size decides how sums are rounded, so a deterministic run uses a fixed one.
    """
    num_roots = most_roots(config)
    if not config.reanalyzer_simulations:
        return _DEFAULT_SIZE
    if config.reanalyzer.search_batch_size:
        return equal_parts(num_roots, config.reanalyzer.search_batch_size)
    if config.cluster.deterministic:
        return equal_parts(num_roots, _DEFAULT_SIZE)
    return choose_size(step_seconds(config.search, network, device, candidate_sizes(num_roots)))


def reanalysis_search(
    config: Config,
    spec: EnvSpec,
    network: EfficientZeroNet,
    device: torch.device,
    generator: np.random.Generator,
) -> Planner:
    """Return a reanalyzer's planner, with the fastest batch size and its own number of simulations.

    One size fits any number of simulations: the cost of a simulation does not depend on it.

    Args:
        config: the run's config.
        spec: the environment's shape.
        network: in eval mode on ``device``.
        device: of the network.
        generator: source of the trees' seeds.
    """
    return make_planner(
        config,
        spec,
        network,
        batch_size=root_batch_size(config, network, device),
        device=device,
        generator=generator,
        simulations=config.reanalyzer_simulations,
    )

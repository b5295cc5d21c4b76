"""The planner protocol, and the one place where a run's planner is chosen.

Actors, the evaluator, reanalyzers and the tools use only the protocol. ``docs/extend/planner.md``
shows how to add a planner.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from efficientzero.config import Config, reads_child_q
from efficientzero.inference import SlotShape
from efficientzero.networks import EfficientZeroNet
from efficientzero.schema import F32, EnvSpec, Frames, PolicyShape, Roots, SearchResult
from efficientzero.search.batched_search import BatchedSearch
from efficientzero.search.network_planner import NetworkPlanner

if TYPE_CHECKING:
    from torch import Tensor


class Planner(Protocol):
    """Evaluates the actions of up to ``batch_size`` roots at once; not thread-safe."""

    batch_size: int
    """The most roots of one ``run``."""
    num_simulations: int
    """Of each root; 0: nothing is searched."""
    on_gpu: bool
    """Whether a run leaves the CPU free for other work."""
    plays_best: bool
    """Actors play ``best_actions``, in which exploration is; else they draw from the visits."""

    def run(self, roots: Roots, *, exploration_noise: bool) -> SearchResult:
        """Return the results at the roots.

        Args:
            roots: N of them, 1 <= N <= ``batch_size``. No visit and no best action is one that
                ``legal_actions`` excludes.
            exploration_noise: for training; without it ``best_actions`` are what plays best.

        Raises:
            ValueError: N out of range, or the network answered with a number that is not finite.
        """

    def network_values(self, observations: Frames | Tensor) -> F32:
        """Return the network's values of [N, *observation], any N, raw scale, f32 [N]."""

    def values_and_policies(self, observations: Frames | Tensor) -> tuple[F32, F32]:
        """Return ``network_values``, and the policy head's probabilities f32 [N, W]."""

    def horizon_values(self, observations: Frames | Tensor) -> F32:
        """Return the network's values of all horizons, f32 [N, 1 + H], the value head's first.

        Raises:
            ValueError: the network has one horizon only.
        """

    def network_action_values(self, observations: Frames | Tensor) -> F32:
        """Return the network's Q(s, a) of every action in the same way, f32 [N, A].

        Raises:
            ValueError: the network has no head for them.
        """


def make_planner(
    config: Config,
    spec: EnvSpec,
    network: EfficientZeroNet,
    *,
    batch_size: int,
    device: torch.device,
    generator: np.random.Generator,
    simulations: int | None = None,
) -> Planner:
    """Build the planner that the config names.

    Args:
        config: ``search.algorithm`` chooses, where there are simulations.
        spec: of the environment.
        network: on ``device`` and in eval mode; its weights may change between runs.
        batch_size: the most roots of one run.
        device: where the network lives.
        generator: for all that the planner draws.
        simulations: of each root, where it is not ``search.num_simulations``.
    """
    search = config.search
    if simulations is not None:
        search = dataclasses.replace(search, num_simulations=simulations)
    if search.num_simulations == 0:
        return NetworkPlanner(
            network, search=search, batch_size=batch_size, device=device, generator=generator
        )
    match search.algorithm:
        case "puct" | "gumbel":
            return BatchedSearch(
                network,
                search=search,
                agent=config.agent,
                compat=config.compat,
                policy_width=PolicyShape.of(spec, search.sampled_actions).width,
                batch_size=batch_size,
                device=device,
                generator=generator,
                num_players=spec.num_players,
                wants_child_q=reads_child_q(config),
                slots=SlotShape.of(spec, search),
            )

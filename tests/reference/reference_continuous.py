"""Continuous actions a second time: densities, losses and one search, by loops over numbers.

Written from the equations; only the network's modules and the trees are shared.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from efficientzero.config import AgentConfig, SearchConfig
from efficientzero.networks import EfficientZeroNet
from mcts_cpp import SearchParams, TreeBatch

F64 = NDArray[np.float64]
SPARE = -1e9


def gaussian(outputs: F64) -> tuple[F64, F64]:
    """Return mean and scale of one head's outputs [2 X]."""
    half = len(outputs) // 2
    mean = np.array([5.0 * math.tanh(m / 5.0) for m in outputs[:half]])
    scale = np.array([math.log1p(math.exp(s + 1.0)) + 0.1 for s in outputs[half:]])
    return mean, scale


def log_density(action: F64, mean: F64, scale: F64) -> float:
    """Return ln pi(a) of one action [X]."""
    total = 0.0
    for a, mu, sigma in zip(action, mean, scale, strict=True):
        clipped = min(max(float(a), -0.999), 0.999)
        z = (math.atanh(clipped) - mu) / sigma
        normal = math.exp(-0.5 * z * z) / (sigma * math.sqrt(2.0 * math.pi))
        total += math.log(normal / (1.0 - clipped**2))
    return total


def corrected(action: F64, mean: F64, scale: F64, *, wide_share: float, factor: float) -> float:
    """Return ln(pi / beta) of an action that was drawn from a mixture with a wider policy."""
    pi = math.exp(log_density(action, mean, scale))
    wide = math.exp(log_density(action, mean, factor * scale))
    return math.log(pi / ((1.0 - wide_share) * pi + wide_share * wide))


def search(
    network: EfficientZeroNet,
    observation: F64,
    settings: SearchConfig,
    agent: AgentConfig,
    *,
    tree_seed: int,
    slots: F64,
    noise: F64,
) -> tuple[list[int], int, list[float]]:
    """Search one root, node by node, with actions that are looked up by node and slot.

    Args:
        network: in eval mode; without value prefixes.
        observation: [*observation].
        settings: of a Gumbel search with uniform priors.
        agent: discount.
        tree_seed: of the tree.
        slots: [W, X], the root's actions.
        noise: [M, inner, X] of the other nodes.

    Returns:
        The root's visits, its best slot and its policy.
    """
    num_slots, num_inner = settings.sampled_actions, settings.sampled_inner_actions
    params = SearchParams(
        discount=agent.discount,
        use_value_prefix=False,
        algorithm="gumbel",
        gumbel_scale=0.0,
        value_scale=settings.gumbel_value_scale,
        maxvisit_init=settings.gumbel_maxvisit_init,
        max_considered_actions=settings.gumbel_max_considered_actions,
        value_prefix_horizon=agent.value_prefix_horizon,
    )
    seeds = np.array([tree_seed], np.uint64)
    tree = TreeBatch(1, num_slots, settings.num_simulations, params, seeds)
    rule = network.planning_rule
    with torch.inference_mode():
        root = network.initial_inference(torch.as_tensor(observation)[None])
        latents, actions = {0: root.latents}, {0: slots}
        tree.expand_roots(
            np.zeros((1, num_slots), np.float32), rule.values(root).numpy(), draw_noise=True
        )
        inner = np.full((1, num_slots), SPARE, np.float32)
        inner[:, :num_inner] = 0.0
        parent, slot = np.zeros(1, np.int32), np.zeros(1, np.int32)
        resets = np.zeros(1, np.bool_)
        for node in range(1, settings.num_simulations + 1):
            tree.select_leaves(parent, slot, resets)
            action = actions[int(parent[0])][int(slot[0])]
            step = network.recurrent_inference(
                latents[int(parent[0])],
                network.initial_lstm_states(1),
                torch.as_tensor(action, dtype=torch.float32)[None],
            )
            mean, scale = gaussian(step.policy_logits[0].double().numpy())
            latents[node] = step.latents
            actions[node] = np.tanh(mean + scale * noise[node - 1])
            tree.backup(rule.value_prefixes(step).numpy(), rule.values(step).numpy(), inner)
    visits, best = np.zeros((1, num_slots), np.int32), np.zeros(1, np.int32)
    policy = np.zeros((1, num_slots), np.float32)
    tree.visit_counts(visits)
    tree.best_actions(best)
    tree.action_weights(policy)
    return visits[0].tolist(), int(best[0]), policy[0].tolist()

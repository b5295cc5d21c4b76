"""How much memory each process of a run takes, without what replay stores. A formula, measured.

Called before anything starts, by ``memory``. docs/guide/machines.md has the measurements.
"""

from __future__ import annotations

import math

import numpy as np

from efficientzero.config import Config, LearnerConfig, downsample_of, latent_size, trunk_of
from efficientzero.schema import EnvSpec
from replay.format import batch_spec

# Proportional set sizes on CPUs where a run's own data are a few MB: what processes share, as
# PyTorch's libraries, is in them once.
_ALONE = {
    "launcher": 65 * 10**6,
    "replay": 80 * 10**6,
    "learner": 310 * 10**6,
    "reanalyzer": 300 * 10**6,
    "actor": 300 * 10**6,
    "evaluator": 280 * 10**6,
}
_FLOAT_BYTES = 4
_TRAINED_STACKS = 25
"""What a train_step keeps of each slice, in stacks of frames as f32: activations, gradients."""
_CONTRASTED_STACKS = 55
"""What it keeps more with nce, whose true next observations have gradients, in the same unit."""
_DECODED_STACKS = 55
"""What it keeps more with a reconstruction loss, in the same unit."""
_SEARCHED_STACKS = 4
"""What a search's largest call takes for each root, in the same unit."""
_RELAYED_BYTES, _STRANGERS_BYTES = 500_000, 77 * 10**6
"""Of replay's relay, measured: a worker's connection, and all that strangers can hold at once."""
_BATCHES_HELD = 3
"""Training batches in a process: one is used, one is ready, one is encoded or decoded."""
_MOST_ROOTS = 2_048
"""Roots that a reanalyzer searches at once at the most."""

ERROR = 0.4
"""How far a process was from the formula, about, as a share of it; below it never that much."""


def batch_bytes(config: Config, spec: EnvSpec) -> int:
    """Return the bytes of one training batch, not compressed."""
    return sum(
        math.prod(shape) * np.dtype(dtype).itemsize
        for dtype, shape in batch_spec(spec, config).values()
    )


def process_memory(config: Config, spec: EnvSpec) -> dict[str, int]:
    """Return role -> bytes of one process, without the steps and batches that replay holds."""
    batch, learner = batch_bytes(config, spec), config.learner
    stack = math.prod(spec.observation_shape) * _FLOAT_BYTES
    latent = config.network.mlp_latent_size * _FLOAT_BYTES
    if trunk_of(config.network, spec) == "conv":
        factor = downsample_of(config.network, spec)
        cells = math.prod(latent_size(spec.frame_shape[1:], factor))
        latent = config.network.channels * cells * _FLOAT_BYTES
    played, evaluated, reanalysed = (
        (simulations + 1) * latent + _SEARCHED_STACKS * stack
        for simulations in (
            config.search.num_simulations,
            config.evaluator_simulations,
            config.reanalyzer_simulations,
        )
    )
    episodes = max(config.evaluator.num_episodes, config.evaluator.final_num_episodes)
    league, ladder_games = config.league, config.league.ladder_games
    roots = min(_MOST_ROOTS, learner.batch_size * (config.agent.num_unroll_steps + 1))
    grown = {
        "replay": _relay_bytes(config),
        "learner": _BATCHES_HELD * batch + _trained_stacks(learner) * learner.batch_size * stack,
        "reanalyzer": _BATCHES_HELD * batch + roots * reanalysed,
        "actor": (config.most_envs + league.num_pool_envs(config.most_envs)) * played,
        "evaluator": (max(episodes, ladder_games) + ladder_games // 2) * evaluated,
    }
    return {role: alone + grown.get(role, 0) for role, alone in _ALONE.items()}


def _trained_stacks(learner: LearnerConfig) -> int:
    is_nce = learner.consistency_coefficient > 0 and learner.consistency == "nce"
    stacks = _TRAINED_STACKS + _CONTRASTED_STACKS * is_nce
    return stacks + _DECODED_STACKS * (learner.reconstruction_coefficient > 0)


def _relay_bytes(config: Config) -> int:
    """Return what replay's relay takes in its process; workers that join count as configured."""
    if not config.cluster.has_relay:
        return 0
    workers = config.cluster.num_actors + config.cluster.num_reanalyzers
    return _STRANGERS_BYTES + workers * _RELAYED_BYTES


def number_of(config: Config) -> dict[str, int]:
    """Return role -> how many processes of it a launcher starts."""
    cluster = config.cluster
    return {
        "launcher": 1,
        "replay": 1,
        "learner": config.learner.num_devices,
        "reanalyzer": cluster.num_reanalyzers,
        "actor": cluster.num_actors,
        "evaluator": int(cluster.evaluator),
    }

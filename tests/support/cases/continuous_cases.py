"""Small agents and environments with continuous actions."""

from __future__ import annotations

from typing import Any

import torch

from efficientzero.config import Config, load_preset
from efficientzero.networks import EfficientZeroNet, make_network
from efficientzero.schema import EnvSpec
from tests.support.cases.config_cases import changed


def spec_of(action_size: int, *, is_image: bool = False) -> EnvSpec:
    """Return an environment with actions of so many numbers."""
    return EnvSpec(
        env_id="continuous",
        frame_shape=(2, 12, 12) if is_image else (4,),
        frame_dtype="uint8" if is_image else "float32",
        num_actions=0,
        num_stacked_frames=1,
        action_kind="continuous",
        action_size=action_size,
    )


def agent(**fields: Any) -> Config:
    """Return a small agent with dotted fields changed, dots as double underscores."""
    small: dict[str, Any] = {
        "network.mlp_latent_size": 16,
        "network.mlp_hidden_size": 24,
        "network.channels": 8,
        "network.action_embedding_size": 12,
        "network.zero_init_heads": False,
        "search.num_simulations": 12,
        "search.sampled_actions": 6,
        "search.gumbel_max_considered_actions": 6,
        "learner.batch_size": 8,
    }
    return changed(
        load_preset("pendulum"), small | {k.replace("__", "."): v for k, v in fields.items()}
    )


def network_of(config: Config, spec: EnvSpec, *, training: bool = False) -> EfficientZeroNet:
    """Return a network drawn from seed 0, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_network(config, spec, training=training).eval()

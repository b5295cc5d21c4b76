"""Tiny networks and random batches in float64 for tests of the loss, one case per switch."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from efficientzero import networks
from efficientzero.config import num_actions_in_slice
from efficientzero.config.fields import AgentConfig, Config, NetworkConfig
from efficientzero.networks import EfficientZeroNet
from efficientzero.schema import EnvSpec
from learner.training.losses.loss_input import LossInput
from learner.training.losses.parts import loss_parts
from learner.training.losses.unrolled_loss import LossTerms, compute_loss

VECTOR = EnvSpec(
    env_id="x", frame_shape=(3,), frame_dtype="float32", num_actions=2, num_stacked_frames=1
)
IMAGE = EnvSpec(
    env_id="y", frame_shape=(1, 4, 3), frame_dtype="uint8", num_actions=3, num_stacked_frames=2
)
CONFIG = Config(
    agent=AgentConfig(num_unroll_steps=3, value_prefix_horizon=3),
    network=NetworkConfig(
        channels=4,
        reduced_channels=2,
        mlp_latent_size=6,
        mlp_hidden_size=8,
        decoder_channels=3,
        head_hidden_size=5,
        lstm_hidden_size=4,
        projector_hidden_size=6,
        projection_size=6,
        predictor_hidden_size=4,
        support_bound=3,
        zero_init_heads=False,
    ),
)


def changed(config: Config, **sections: dict[str, Any]) -> Config:
    """Return ``config`` with some fields of some sections replaced."""
    new = {
        name: dataclasses.replace(getattr(config, name), **fields)
        for name, fields in sections.items()
    }
    return dataclasses.replace(config, **new)


def case(**sections: dict[str, Any]) -> Config:
    """Return the tiny config with some fields of some sections replaced."""
    return changed(CONFIG, **sections)


_REFERENCE = {"gradient_scaling": "reference"}

_NO_UNROLL = {"num_unroll_steps": 0, "value_prefix": False, "value_prefix_horizon": 1}

CASES = {
    "default": case(),
    "reference scaling": case(compat=_REFERENCE),
    "one step": case(agent={"num_unroll_steps": 1, "value_prefix_horizon": 1}),
    "one step, reference scaling": case(
        agent={"num_unroll_steps": 1, "value_prefix_horizon": 1}, compat=_REFERENCE
    ),
    "prefix starts again after two steps": case(agent={"value_prefix_horizon": 2}),
    "rewards instead of prefixes": case(agent={"value_prefix": False, "value_prefix_horizon": 1}),
    "rewards, reference scaling": case(
        agent={"value_prefix": False, "value_prefix_horizon": 1}, compat=_REFERENCE
    ),
    "numbers instead of categories": case(network={"categorical_values": False}),
    "no unroll": case(agent=_NO_UNROLL, learner={"consistency_coefficient": 0.0}),
    "no unroll, action values, reference scaling": case(
        agent={**_NO_UNROLL, "value_function": "action"},
        learner={"consistency_coefficient": 0.0},
        compat=_REFERENCE,
    ),
    "action values by searches": case(learner={"action_value_coefficient": 0.7}),
    "action values by searches, alike, as numbers, reference scaling": case(
        search={"improved_policy": "mellowmax"},
        network={"categorical_values": False},
        learner={"action_value_coefficient": 0.7},
        compat=_REFERENCE,
    ),
    "Q-learning and the softmax of action values": case(
        agent={"value_function": "action"},
        search={"q_temperature": 0.6},
        learner={"action_value_coefficient": 0.7, "action_value_loss": "softmax"},
    ),
    "spr": case(learner={"consistency": "spr"}),
    "nce": case(learner={"consistency": "nce"}),
    "nce with other steps of a slice, reference scaling": case(
        learner={
            "consistency": "nce",
            "nce_same_episode_negatives": True,
            "nce_temperature": 0.3,
        },
        compat=_REFERENCE,
    ),
    "numbers on the raw scale, Huber": case(
        network={"categorical_values": False, "value_transform": "identity"},
        learner={"huber_delta": 2.0},
    ),
    "few atoms on the raw scale": case(network={"value_transform": "identity", "support_bins": 5}),
    "reconstruction": case(learner={"reconstruction_coefficient": 0.5}),
    "reconstruction alone, through strides, reference scaling": case(
        network={"downsample": 2},
        learner={
            "reconstruction_coefficient": 2.0,
            "policy_coefficient": 0.0,
            "value_coefficient": 0.0,
            "value_prefix_coefficient": 0.0,
            "consistency_coefficient": 0.0,
        },
        compat=_REFERENCE,
    ),
    "action values": case(agent={"value_function": "action"}),
    "action values, as numbers, reference scaling": case(
        agent={"value_function": "action"},
        network={"categorical_values": False, "action_value_hidden_size": 7},
        compat=_REFERENCE,
    ),
    "no consistency": case(learner={"consistency_coefficient": 0.0}),
    "further horizons": case(agent={"auxiliary_discounts": (0.5, 0.9)}),
    "a further horizon, as a number, reference scaling": case(
        agent={"auxiliary_discounts": (0.5,)},
        network={"categorical_values": False},
        learner={"auxiliary_value_coefficient": 2.0},
        compat=_REFERENCE,
    ),
    "no value": case(learner={"value_coefficient": 0.0}),
    "no policy": case(learner={"policy_coefficient": 0.0}),
    "no value prefix loss": case(learner={"value_prefix_coefficient": 0.0}),
    "only values, as numbers, reference scaling": case(
        network={"categorical_values": False},
        learner={
            "policy_coefficient": 0.0,
            "value_prefix_coefficient": 0.0,
            "consistency_coefficient": 0.0,
        },
        compat=_REFERENCE,
    ),
}
"""Every switch of the loss, alone and in some combinations."""


def make_network(config: Config, spec: EnvSpec = VECTOR, seed: int = 0) -> EfficientZeroNet:
    """Return a network with float64 weights, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = networks.make_network(config, spec, training=True)
    return network.double().train()


def make_batch(config: Config, spec: EnvSpec = VECTOR, size: int = 5, seed: int = 0) -> LossInput:
    """Return random float64 inputs; some slices end inside the unroll, some values overflow."""
    g = torch.Generator().manual_seed(seed)
    steps, kind = config.agent.num_unroll_steps, torch.float64
    num_actions = num_actions_in_slice(config.agent)

    def observations(*shape: int) -> torch.Tensor:
        shape = (*shape, *spec.observation_shape)
        if spec.is_image:
            return torch.randint(0, 256, shape, generator=g).to(torch.uint8)
        return torch.randn(shape, generator=g, dtype=kind)

    lengths = torch.randint(0, steps + 2, (size,), generator=g)
    exists = torch.arange(steps + 1) < lengths[:, None].clamp(min=1)
    horizons = len(config.agent.auxiliary_discounts)
    auxiliary = (
        torch.randn(size, horizons, steps + 1, generator=g, dtype=kind) * 10 if horizons else None
    )
    policies = torch.rand(size, steps + 1, spec.num_actions, generator=g, dtype=kind)
    action_values = None
    if config.learner.action_value_coefficient:
        action_values = torch.randn(policies.shape, generator=g, dtype=kind) * 3
        is_known = torch.ones_like(action_values, dtype=torch.bool)
        is_known[0] = False  # not searched anew
        if config.learner.action_value_loss == "regression":
            is_known &= torch.rand(policies.shape, generator=g, dtype=kind) < 0.6
        action_values[~is_known] = torch.nan
    return LossInput(
        root_observations=observations(size),
        next_observations=observations(size, steps),
        actions=torch.randint(0, spec.num_actions, (size, num_actions), generator=g),
        value_prefixes=torch.randint(-2, 3, (size, steps), generator=g).to(kind),
        values=torch.randn(size, steps + 1, generator=g, dtype=kind) * 10,
        policies=policies / policies.sum(2, keepdim=True) * exists[:, :, None],
        mask=(torch.arange(num_actions) < lengths[:, None]).to(kind),
        importance_weights=torch.rand(size, generator=g, dtype=kind),
        auxiliary_values=auxiliary,
        action_value_targets=action_values,
    )


def loss_of(network: EfficientZeroNet, batch: LossInput, config: Config) -> LossTerms:
    """Return the implementation's answer."""
    return compute_loss(
        network,
        batch,
        loss_parts(config),
        agent=config.agent,
        gradient_scaling=config.compat.gradient_scaling,
    )


def in_float32(batch: LossInput) -> LossInput:
    """Return ``batch`` as the learner's loader makes it."""
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    fields = {name: tensor for name, tensor in fields.items() if tensor is not None}
    return LossInput(
        **{
            name: tensor.float() if tensor is not None and tensor.is_floating_point() else tensor
            for name, tensor in fields.items()
        }
    )

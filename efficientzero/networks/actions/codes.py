"""How an action enters the dynamics: one-hot or embedded for the MLP trunk, planes for images.

Used by the trunks. Discrete actions are indices i64 [B]; continuous ones are numbers f32 [B, X] in
-1..1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from efficientzero.config import NetworkConfig
from efficientzero.schema import EnvSpec


class OneHotActions(nn.Module):
    """The rows of the identity."""

    codes: Tensor  # f32 [A, A]

    def __init__(self, num_actions: int) -> None:
        """Store the rows; they are no part of a ``state_dict``."""
        super().__init__()
        self.size = num_actions
        self.register_buffer("codes", torch.eye(num_actions), persistent=False)

    def forward(self, actions: Tensor) -> Tensor:
        """Map i64 [B] to f32 [B, A]."""
        return self.codes[actions]


class EmbeddedActions(nn.Module):
    """Linear, LayerNorm, ReLU of a continuous action."""

    def __init__(self, action_size: int, size: int) -> None:
        """Create the layers for ``action_size`` numbers."""
        super().__init__()
        self.size = size
        self.layers = nn.Sequential(
            nn.Linear(action_size, size), nn.LayerNorm(size), nn.ReLU(inplace=True)
        )

    def forward(self, actions: Tensor) -> Tensor:
        """Map f32 [B, X] to [B, size]."""
        embedded: Tensor = self.layers(actions)
        return embedded


class IndexPlane(nn.Module):
    """One number, the index over the number of actions: the constant of a plane."""

    def __init__(self, num_actions: int) -> None:
        """Keep A."""
        super().__init__()
        self.size, self.num_actions = 1, num_actions

    def forward(self, actions: Tensor) -> Tensor:
        """Map i64 [B] to f32 [B, 1]."""
        return (actions.float() / self.num_actions)[:, None]


class NumberPlanes(nn.Module):
    """The numbers of a continuous action, each the constant of a plane."""

    def __init__(self, action_size: int) -> None:
        """Keep X."""
        super().__init__()
        self.size = action_size

    def forward(self, actions: Tensor) -> Tensor:
        """Return f32 [B, X] as they are."""
        return actions


def vector_encoder(config: NetworkConfig, spec: EnvSpec) -> OneHotActions | EmbeddedActions:
    """Return the encoder for dynamics whose latents are vectors."""
    if spec.action_kind == "continuous":
        return EmbeddedActions(spec.action_size, config.action_embedding_size)
    return OneHotActions(spec.num_actions)


def plane_encoder(spec: EnvSpec) -> IndexPlane | NumberPlanes:
    """Return the encoder for dynamics whose latents are images: its numbers fill planes."""
    if spec.action_kind == "continuous":
        return NumberPlanes(spec.action_size)
    return IndexPlane(spec.num_actions)

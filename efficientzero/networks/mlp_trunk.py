"""The MLP trunk: vector observations to latents [L] and on to the next latents.

Built by ``efficientzero_net`` for environments such as CartPole. LayerNorm throughout: search runs
on running statistics while training runs on batch statistics, and in a small BatchNorm net trained
on a fast-changing policy the two come apart. Every latent, encoded or predicted, has mean 0 and
variance 1 over its entries, so that no path through the dynamics can grow or fade.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from efficientzero.config import NetworkConfig
from efficientzero.networks.blocks import ResidualMlp, Trunk, scale_pixels
from efficientzero.schema import EnvSpec


class MlpRepresentation(nn.Module):
    """Stacked frames to a latent."""

    def __init__(self, in_size: int, config: NetworkConfig) -> None:
        """Create two layers and ``num_blocks`` residual blocks."""
        super().__init__()
        size, hidden_size = config.mlp_latent_size, config.mlp_hidden_size
        self.layers = nn.Sequential(
            nn.Linear(in_size, hidden_size),
            nn.LayerNorm(hidden_size),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_size, size),
            *(ResidualMlp(size, hidden_size) for _ in range(config.num_blocks)),
            _latent_norm(size),
        )

    def forward(self, observations: Tensor) -> Tensor:
        """Map float or u8 [B, S*D] to latents f32 [B, L]."""
        x = scale_pixels(observations)
        # Vectors come in the environment's own units, some unbounded: sign(x) ln(1 + |x|) leaves
        # small entries as they are and keeps large ones from drowning them.
        latents: Tensor = self.layers(x.sign() * x.abs().log1p())
        return latents.float()


class MlpDynamics(nn.Module):
    """A latent and a one-hot action to the next latent."""

    action_codes: Tensor  # f32 [A, A] the one-hot rows

    def __init__(self, config: NetworkConfig, *, num_actions: int) -> None:
        """Create ``num_blocks`` residual blocks, the first of which sees the action."""
        super().__init__()
        size, hidden_size = config.mlp_latent_size, config.mlp_hidden_size
        self.action_block = ResidualMlp(size, hidden_size, condition_size=num_actions)
        further = (ResidualMlp(size, hidden_size) for _ in range(config.num_blocks - 1))
        self.layers = nn.Sequential(*further, _latent_norm(size))
        self.register_buffer("action_codes", torch.eye(num_actions), persistent=False)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Map latents f32 [B, L] and actions i64 [B] to the next latents, alike."""
        x = self.action_block(latents, self.action_codes[actions])
        next_latents: Tensor = self.layers(x)
        return next_latents.float()


def make_mlp_trunk(config: NetworkConfig, spec: EnvSpec) -> Trunk:
    """Build the trunk for vector frames."""
    size = config.mlp_latent_size
    if len(spec.observation_shape) != 1:
        raise ValueError(f"frame shape: got {spec.frame_shape}, wanted (C, H, W) or (D,)")
    (in_size,) = spec.observation_shape
    return Trunk(
        representation=MlpRepresentation(in_size, config),
        dynamics=MlpDynamics(config, num_actions=spec.num_actions),
        prediction_body=ResidualMlp(size, config.mlp_hidden_size),
        make_stem=nn.Identity,
        stem_size=size,
        head_norm=nn.LayerNorm,
        latent_shape=(size,),
    )


def _latent_norm(size: int) -> nn.Module:
    """Return a LayerNorm without weights, so that all latents lie on one and the same sphere."""
    return nn.LayerNorm(size, elementwise_affine=False)

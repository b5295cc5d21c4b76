"""The MLP trunk: observations to latents [L] and on to the next latents.

Built by ``efficientzero_net`` for vectors, and for images where ``network.trunk`` asks for it: then
convolutions come first, and the model's steps, most of all calls, are those of an MLP. LayerNorm
throughout: search runs
on running statistics while training runs on batch statistics, and in a small BatchNorm net trained
on a fast-changing policy the two come apart. Every latent, encoded or predicted, has mean 0 and
variance 1 over its entries, so that no path through the dynamics can grow or fade.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from efficientzero.config import NetworkConfig, downsample_of, latent_size
from efficientzero.networks.actions.codes import vector_encoder
from efficientzero.networks.blocks import ResidualMlp, Trunk, compress, conv3x3, scale_pixels
from efficientzero.schema import EnvSpec


class MlpRepresentation(nn.Module):
    """Stacked frames to a latent."""

    def __init__(self, in_size: int, config: NetworkConfig) -> None:
        """Create two layers and ``num_blocks`` residual blocks."""
        super().__init__()
        self.layers = _mlp_layers(in_size, config)

    def forward(self, observations: Tensor) -> Tensor:
        """Map float or u8 [B, S*D] to latents f32 [B, L]."""
        x = scale_pixels(observations)
        # Vectors come in the environment's own units, some unbounded: large entries must not drown
        # small ones.
        latents: Tensor = self.layers(compress(x))
        return latents.float()


class ImageRepresentation(nn.Module):
    """Stacked images to a latent that is a vector."""

    def __init__(self, config: NetworkConfig, spec: EnvSpec) -> None:
        """Create the convolutions, and ``MlpRepresentation``'s layers after them."""
        super().__init__()
        frame_channels, *frame_size = spec.observation_shape
        downsample = downsample_of(config, spec)
        cells = math.prod(latent_size(tuple(frame_size), downsample))
        self.convolutions = nn.Sequential(
            *_convolutions(frame_channels, config.channels, downsample), nn.Flatten()
        )
        self.layers = _mlp_layers(config.channels * cells, config)

    def forward(self, observations: Tensor) -> Tensor:
        """Map u8, or float in 0..1, [B, S*C, H, W] to latents f32 [B, L]."""
        latents: Tensor = self.layers(self.convolutions(scale_pixels(observations)))
        return latents.float()


class MlpDynamics(nn.Module):
    """A latent and an action to the next latent."""

    def __init__(self, config: NetworkConfig, spec: EnvSpec) -> None:
        """Create ``num_blocks`` residual blocks, the first of which sees the action."""
        super().__init__()
        size, hidden_size = config.mlp_latent_size, config.mlp_hidden_size
        self.encode_actions = vector_encoder(config, spec)
        self.action_block = ResidualMlp(size, hidden_size, condition_size=self.encode_actions.size)
        further = (ResidualMlp(size, hidden_size) for _ in range(config.num_blocks - 1))
        self.layers = nn.Sequential(*further, _latent_norm(size))

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Map latents f32 [B, L] and actions, i64 [B] or f32 [B, X], to the next latents."""
        x = self.action_block(latents, self.encode_actions(actions))
        next_latents: Tensor = self.layers(x)
        return next_latents.float()


def make_mlp_trunk(config: NetworkConfig, spec: EnvSpec) -> Trunk:
    """Build the trunk for vector frames, or for images of any height and width."""
    size = config.mlp_latent_size
    representation: nn.Module
    if spec.is_image:
        representation = ImageRepresentation(config, spec)
    elif len(spec.observation_shape) == 1:
        representation = MlpRepresentation(spec.observation_shape[0], config)
    else:
        raise ValueError(f"frame shape: got {spec.frame_shape}, wanted (C, H, W) or (D,)")
    return Trunk(
        representation=representation,
        dynamics=MlpDynamics(config, spec),
        prediction_body=ResidualMlp(size, config.mlp_hidden_size),
        make_stem=nn.Identity,
        stem_size=size,
        head_norm=nn.LayerNorm,
        latent_shape=(size,),
    )


def _mlp_layers(in_size: int, config: NetworkConfig) -> nn.Sequential:
    """Return two layers and ``num_blocks`` residual blocks: [B, in_size] -> latents [B, L]."""
    size, hidden_size = config.mlp_latent_size, config.mlp_hidden_size
    return nn.Sequential(
        nn.Linear(in_size, hidden_size),
        nn.LayerNorm(hidden_size),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_size, size),
        *(ResidualMlp(size, hidden_size) for _ in range(config.num_blocks)),
        _latent_norm(size),
    )


def _convolutions(in_channels: int, channels: int, downsample: int) -> list[nn.Module]:
    """Return convolutions that divide height and width by ``downsample``, rounding up.

    One of stride 2 for each factor of 2, at least one in all, each with layer norm and ReLU.
    """
    layers: list[nn.Module] = []
    for stride in [2] * int(math.log2(downsample)) or [1]:
        layers += [
            conv3x3(in_channels, channels, stride=stride),
            nn.GroupNorm(1, channels),
            nn.ReLU(inplace=True),
        ]
        in_channels = channels
    return layers


def _latent_norm(size: int) -> nn.Module:
    """Return a LayerNorm without weights, so that all latents lie on one and the same sphere."""
    return nn.LayerNorm(size, elementwise_affine=False)

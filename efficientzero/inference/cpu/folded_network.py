"""The network made quick for inference on a CPU: its norms folded, its LSTM packed.

Used by ``inference``. A copy of the module tree that shares the live parameters; some layers are
replaced by those of ``folded_layers``, whose tensors are derived from the parameters and derived
again when these have changed. Same function up to rounding.
"""

from __future__ import annotations

import copy
import math
from itertools import chain
from typing import TypeGuard

import torch
from torch import Tensor, nn

from efficientzero.inference.cpu import kernels
from efficientzero.inference.cpu.folded_dynamics import FoldedDynamics
from efficientzero.inference.cpu.folded_layers import (
    FoldedClassifier,
    FoldedConv,
    FoldedLayer,
    FoldedNorm,
    FoldedResidualBlock,
    FoldedSupport,
    PackedLstmCell,
)
from efficientzero.networks import (
    Classifier,
    ConvDynamics,
    EfficientZeroNet,
    IndexPlane,
    LstmCell,
    NoisyLinear,
    ResidualBlock,
    ScalarSupport,
)

_PIXELS_AT_ONCE = 16 * 96 * 96
"""Activations of more than 16 images of 96x96 leave the caches; of small images a call's cost
is mostly the same for any number of them, so that 192 of 10x10 cost least at once."""
_IMAGE_RANK = 4  # [B, C, H, W]


class FoldedNetwork:
    """Follows a live network whose weights may change in place at any time between searches."""

    network: EfficientZeroNet
    """Answers as the live network does; call ``refresh`` first, once a search."""

    def __init__(self, network: EfficientZeroNet) -> None:
        """Fold.

        Args:
            network: in eval mode, on the CPU.

        Raises:
            ValueError: the parameters were made in inference mode, so changes cannot be detected.
        """
        tensors = dict(chain(network.named_parameters(), network.named_buffers()))
        self._weights = [tensors[name] for name in network.inference_state_dict()]
        if any(tensor.is_inference() for tensor in self._weights):
            raise ValueError("network: got one built in inference mode, wanted it built outside")
        # Tensors named in the memo are not copied: the new tree has the live parameters.
        self.network = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors.values()})
        with torch.inference_mode(mode=False), torch.no_grad():
            for name in self.network.auxiliary_heads:
                delattr(self.network, name)
            _replace_children(self.network, network.latent_shape)
            self.network.representation = _InParts(self.network.representation)
        self._layers = [m for m in self.network.modules() if isinstance(m, FoldedLayer)]
        self._state = self._live_state()

    def refresh(self) -> None:
        """Derive all tensors again if a parameter was written since the last time.

        Written means in place, as optimizers, ``load_state_dict`` and
        ``load_inference_state_dict`` do it: torch counts every such write.
        """
        state = self._live_state()
        if state != self._state:
            with torch.inference_mode(mode=False), torch.no_grad():
                for layer in self._layers:
                    layer.refresh()
            self._state = state

    def _live_state(self) -> list[tuple[int, int]]:
        return [(tensor.data_ptr(), tensor._version) for tensor in self._weights]


class _InParts(nn.Module):
    """The representation of a few images at a time."""

    def __init__(self, representation: nn.Module) -> None:
        super().__init__()
        self.representation = representation

    def forward(self, observations: Tensor) -> Tensor:
        images_at_once = max(1, _PIXELS_AT_ONCE // math.prod(observations.shape[2:]))
        if observations.ndim != _IMAGE_RANK or len(observations) <= images_at_once:
            latents: Tensor = self.representation(observations)
            return latents
        parts = torch.split(observations, images_at_once)
        return torch.cat([self.representation(part) for part in parts])


def _replace_children(module: nn.Module, latent_shape: tuple[int, ...]) -> None:
    for name, child in module.named_children():
        setattr(module, name, _folded(child, latent_shape))


def _folded(module: nn.Module, latent_shape: tuple[int, ...]) -> nn.Module:
    if _has_action_map(module):
        return FoldedDynamics(module, _folded(module.blocks, latent_shape), latent_shape[1:])
    layer = _folded_layer(module)
    if layer is not None:
        return layer
    if isinstance(module, nn.Sequential):
        module = _with_folded_convs(module)
    _replace_children(module, latent_shape)
    return module


def _has_action_map(module: nn.Module) -> TypeGuard[ConvDynamics]:
    """Return whether all actions add multiples of one map: their plane is the index's."""
    return (
        isinstance(module, ConvDynamics)
        and isinstance(module.norm, nn.BatchNorm2d)
        and isinstance(module.encode_actions, IndexPlane)
    )


def _folded_layer(module: nn.Module) -> FoldedLayer | None:
    """Return what takes the place of the whole of ``module``, or None."""
    if isinstance(module, ResidualBlock) and isinstance(module.norm1, nn.BatchNorm2d):
        return FoldedResidualBlock(module)
    if isinstance(module, LstmCell) and kernels.lstm_pays(module.hidden_size):
        return PackedLstmCell(module)
    if type(module) is ScalarSupport:
        return FoldedSupport()
    if isinstance(module, nn.BatchNorm1d):
        return FoldedNorm(module)
    if isinstance(module, Classifier) and isinstance(module.norm, nn.BatchNorm1d):
        return None if isinstance(module.hidden, NoisyLinear) else FoldedClassifier(module)
    return None


def _with_folded_convs(layers: nn.Sequential) -> nn.Sequential:
    """Join each convolution with the BatchNorm that follows it."""
    folded: list[nn.Module] = []
    for layer, following in zip(layers, chain(list(layers)[1:], (None,)), strict=True):
        if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            folded.append(FoldedConv(layer, following))
        elif not (isinstance(layer, nn.BatchNorm2d) and folded):
            folded.append(layer)
    return nn.Sequential(*folded)

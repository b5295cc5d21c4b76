"""The last layers of heads: plain, noisy, and dueling for action values.

Imported by ``blocks`` and by ``efficientzero_net``. Knows no environment and no config.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormFactory = Callable[[int], nn.Module]
"""Makes the normalisation of a layer of the given width."""
LinearFactory = Callable[[int, int], nn.Linear]
"""Makes a linear layer of given widths in and out."""


class NoisyLinear(nn.Linear):
    """y = (W + S_w * E_w) x + b + S_b * E_b with factorised noise E (Fortunato et al., 2018).

    E_w[j, i] = f(e_j) f(e_i) and E_b[j] = f(e_j), f(x) = sign(x) sqrt(|x|) of standard normal e.
    W, b and the scales S are trained. W and b start as ``nn.Linear``'s, uniform within
    1 / sqrt(in), as the paper's do. The noise stays until ``draw`` or ``silence`` is called, begins
    at zero, and is no part of a ``state_dict``.
    """

    noise_in: Tensor  # f32 [in]
    noise_out: Tensor  # f32 [out]

    def __init__(self, in_size: int, out_size: int, *, sigma: float) -> None:
        """Create the layer; all of S is ``sigma`` / sqrt(in) at first."""
        super().__init__(in_size, out_size)
        scale = sigma / math.sqrt(in_size)
        self.weight_scale = nn.Parameter(torch.full((out_size, in_size), scale))
        self.bias_scale = nn.Parameter(torch.full((out_size,), scale))
        self.register_buffer("noise_in", torch.zeros(in_size), persistent=False)
        self.register_buffer("noise_out", torch.zeros(out_size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in] to [B, out]."""
        noise = self.noise_out[:, None] * self.noise_in
        weight = self.weight + self.weight_scale * noise
        return F.linear(x, weight, self.bias + self.bias_scale * self.noise_out)

    def draw(self, generator: torch.Generator) -> None:
        """Draw new noise on the CPU, the same on all devices, and copy it into the buffers."""
        for buffer in (self.noise_in, self.noise_out):
            drawn = torch.randn(buffer.shape, generator=generator)
            buffer.copy_(drawn.sign() * drawn.abs().sqrt())

    def silence(self) -> None:
        """Leave W and b alone."""
        self.noise_in.zero_()
        self.noise_out.zero_()


def draw_noise(network: nn.Module, seed: int) -> None:
    """Draw new noise for all noisy layers of ``network`` from ``seed``; without one, do nothing."""
    generator = torch.Generator().manual_seed(seed)
    for layer in noisy_layers(network):
        layer.draw(generator)


def silence(network: nn.Module) -> None:
    """Set the noise of all noisy layers of ``network`` to zero."""
    for layer in noisy_layers(network):
        layer.silence()


def noisy_layers(network: nn.Module) -> list[NoisyLinear]:
    """Return the noisy layers of ``network``, in its order."""
    return [module for module in network.modules() if isinstance(module, NoisyLinear)]


class Classifier(nn.Module):
    """Linear, norm, ReLU, Linear: the last layers of every head."""

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        out_size: int,
        *,
        norm: NormFactory,
        zero_init: bool,
        linear: LinearFactory = nn.Linear,
    ) -> None:
        """Create the layers; with ``zero_init`` all logits start at zero."""
        super().__init__()
        self.hidden = linear(in_size, hidden_size)
        self.norm = norm(hidden_size)
        self.output = linear(hidden_size, out_size)
        if zero_init:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Map [B, in_size] to logits f32 [B, out_size]."""
        hidden = F.relu_(self.norm(self.hidden(features)))
        # Logits keep float32: bfloat16 rounds a logit of 10 to 1/32, a visible error in a value.
        with torch.autocast(hidden.device.type, enabled=False):
            logits: Tensor = self.output(hidden.float())
        return logits


class DuelingClassifier(nn.Module):
    """Action values of two streams: Q = V + A - mean over actions of A, of logits.

    Wang et al. (2016), equation 9.
    """

    def __init__(self, make: Callable[[int], Classifier], num_actions: int, num_bins: int) -> None:
        """Create the streams with ``make``, which is given the number of logits."""
        super().__init__()
        self.value, self.advantages = make(num_bins), make(num_actions * num_bins)
        self._num_actions = num_actions

    def forward(self, features: Tensor) -> Tensor:
        """Map [B, in_size] to logits f32 [B, A * bins], those of an action side by side."""
        value: Tensor = self.value(features)
        advantages = self.advantages(features).unflatten(1, (self._num_actions, -1))
        logits: Tensor = value[:, None] + advantages - advantages.mean(1, keepdim=True)
        return logits.flatten(1)

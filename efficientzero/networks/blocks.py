"""Building blocks that both trunks share: residual blocks, the LSTM cell, heads, SimSiam's MLPs.

Imported by the trunks and by ``efficientzero_net``. Knows no environment and no config.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientzero.networks.classifiers import Classifier, NormFactory


class Trunk(NamedTuple):
    """The part of the network that depends on the kind of observation."""

    representation: nn.Module  # observations [B, *observation] -> latents f32 [B, *latent]
    dynamics: nn.Module  # latents f32 [B, *latent], actions i64 [B] -> next latents f32
    prediction_body: nn.Module  # latents -> features [B, *latent] that value and policy share
    make_stem: Callable[[], nn.Module]  # a head's own first layers: [B, *latent] -> [B, stem_size]
    stem_size: int
    head_norm: NormFactory
    latent_shape: tuple[int, ...]
    own_root_statistics: bool = False  # separate running statistics for predictions at roots


def scale_pixels(observations: Tensor) -> Tensor:
    """Return uint8 pixels as f32 in 0..1; anything else unchanged."""
    return observations.float() / 255.0 if observations.dtype == torch.uint8 else observations


def compress(x: Tensor) -> Tensor:
    """Return sign(x) ln(1 + |x|), which leaves small numbers as they are."""
    return x.sign() * x.abs().log1p()


def conv3x3(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution with padding 1 and no bias (a norm follows)."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


class ResidualBlock(nn.Module):
    """conv-norm-ReLU-conv-norm, add the shortcut, ReLU.

    With ``stride`` 2 the block halves height and width, and its shortcut is a 3x3 convolution
    without a norm.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, norm: NormFactory, stride: int = 1
    ) -> None:
        """Create the block; its shortcut is the identity when shape and width stay."""
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride=stride)
        self.norm1 = norm(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.norm2 = norm(out_channels)
        is_identity = stride == 1 and in_channels == out_channels
        self.shortcut = None if is_identity else conv3x3(in_channels, out_channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H / stride, W / stride]."""
        residual = x if self.shortcut is None else self.shortcut(x)
        x = F.relu_(self.norm1(self.conv1(x)))
        return F.relu_(self.norm2(self.conv2(x)) + residual)


class ResidualMlp(nn.Module):
    """x + Linear(ReLU(LayerNorm(Linear([x, condition])))), where the condition may be empty."""

    def __init__(self, size: int, hidden_size: int, *, condition_size: int = 0) -> None:
        """Create the two layers."""
        super().__init__()
        self.hidden = nn.Linear(size + condition_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.output = nn.Linear(hidden_size, size)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map [B, size] (and a condition [B, condition_size]) to [B, size]."""
        joined = x if condition is None else torch.cat([x, condition], dim=1)
        change: Tensor = self.output(F.relu_(self.norm(self.hidden(joined))))
        return x + change


class LstmCell(nn.Module):
    """One step of an LSTM, the same function as ``nn.LSTM`` with one layer.

    ``nn.LSTM`` on CPU repacks all its weights at every call (3 ms for 576 -> 512, against 0.25 ms
    here at batch 1). The two weight matrices stand side by side so that a step is one matrix
    product; both of ``nn.LSTM``'s bias vectors are kept, which are redundant in function, so that
    size and step size of the optimiser's updates are the reference's.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        """Create weights drawn as ``nn.LSTM`` draws them."""
        super().__init__()
        self.hidden_size = hidden_size
        bound = 1.0 / math.sqrt(hidden_size)
        # Rows are the gates i, f, g, o; columns the input, then the hidden state.
        weight = torch.empty(4 * hidden_size, input_size + hidden_size).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.bias_input = nn.Parameter(torch.empty(4 * hidden_size).uniform_(-bound, bound))
        self.bias_hidden = nn.Parameter(torch.empty(4 * hidden_size).uniform_(-bound, bound))

    def forward(self, x: Tensor, states: Tensor) -> Tensor:
        """Return the next states.

        Args:
            x: [B, input_size].
            states: f32 [B, 2, hidden_size], h and c.

        Returns:
            f32 [B, 2, hidden_size]; c is summed in float32 also under autocast.
        """
        joined = torch.cat([x, states[:, 0].to(x.dtype)], dim=1)  # [B, input + hidden]
        gates = F.linear(joined, self.weight, self.bias_input + self.bias_hidden).float()
        i, f, g, o = gates.chunk(4, dim=1)  # each [B, hidden]
        c = torch.sigmoid(f) * states[:, 1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.stack([torch.sigmoid(o) * torch.tanh(c), c], dim=1)


class ValuePrefixHead(nn.Module):
    """Sum of rewards since the last reset, read off an LSTM over the latents of the path.

    Without an LSTM (``lstm_hidden_size`` 0) it reads each step's reward off that step's latent.
    """

    def __init__(
        self,
        stem: nn.Module,
        stem_size: int,
        *,
        lstm_hidden_size: int,
        hidden_size: int,
        num_bins: int,
        norm: NormFactory,
        zero_init: bool,
    ) -> None:
        """Create the head."""
        super().__init__()
        self.stem = stem
        self.lstm = LstmCell(stem_size, lstm_hidden_size) if lstm_hidden_size else None
        self.lstm_norm = norm(lstm_hidden_size) if lstm_hidden_size else None
        self.classifier = Classifier(
            lstm_hidden_size or stem_size, hidden_size, num_bins, norm=norm, zero_init=zero_init
        )

    def forward(self, latents: Tensor, lstm_states: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits f32 [B, bins] and the next lstm_states f32 [B, 2, L]."""
        features = self.stem(latents)
        if self.lstm is not None and self.lstm_norm is not None:
            lstm_states = self.lstm(features, lstm_states)
            features = F.relu_(self.lstm_norm(lstm_states[:, 0]))
        return self.classifier(features), lstm_states


class Prediction(nn.Module):
    """Value, policy and, where there are heads for them, action values and further horizons'."""

    def __init__(self, body: nn.Module, *, value_head: nn.Module, policy_head: nn.Module) -> None:
        """Join the parts."""
        super().__init__()
        self.body = body
        self.value_head = value_head
        self.policy_head = policy_head
        self.action_value_head: nn.Module | None = None
        self.auxiliary_value_head: nn.Module | None = None

    def forward(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Return value logits f32 [B, bins] and policy logits f32 [B, A].

        With heads for them also the logits of action values, f32 [B, A, bins], and of further
        horizons' values, f32 [B, H, bins], in this order.
        """
        features = self.body(latents)
        logits = self.value_head(features), self.policy_head(features)
        if self.action_value_head is None and self.auxiliary_value_head is None:
            return logits
        num_bins = logits[0].shape[1]
        others = (self.action_value_head, self.auxiliary_value_head)
        return *logits, *(
            head(features).unflatten(1, (-1, num_bins)) for head in others if head is not None
        )


def make_projector(in_size: int, *, hidden_size: int, out_size: int, momentum: float) -> nn.Module:
    """Return SimSiam's three-layer projector, f32 [B, in_size] -> [B, out_size]."""
    return nn.Sequential(
        nn.Linear(in_size, hidden_size),
        nn.BatchNorm1d(hidden_size, momentum=momentum),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_size, hidden_size),
        nn.BatchNorm1d(hidden_size, momentum=momentum),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_size, out_size),
        nn.BatchNorm1d(out_size, momentum=momentum),
    )


def make_predictor(size: int, *, hidden_size: int, momentum: float) -> nn.Module:
    """Return SimSiam's bottleneck predictor, [B, size] -> [B, size]."""
    return nn.Sequential(
        nn.Linear(size, hidden_size),
        nn.BatchNorm1d(hidden_size, momentum=momentum),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_size, size),
    )

"""The loss of value heads against scalar targets.

Used by the parts of the loss that train values; the only reader of ``learner.huber_delta``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from efficientzero.config import Config
from efficientzero.networks import ScalarRegression, ValueSupport

ScalarLoss = Callable[[ValueSupport, Tensor, Tensor], Tensor]
"""Maps a support, outputs [..., bins] and targets f32 [...] on raw scale to losses f32 [...]."""


def scalar_loss(config: Config) -> ScalarLoss:
    """Return the loss of a value head: its support's own, or Huber's."""
    delta = config.learner.huber_delta
    if not delta:
        return _own_loss

    def huber(support: ValueSupport, outputs: Tensor, values: Tensor) -> Tensor:
        """Return d^2 / 2 for |d| <= delta, else delta (|d| - delta / 2), of d = output - h(value).

        With delta 1 this is the error clipping of DQN (Mnih et al., 2015, methods).
        """
        assert isinstance(support, ScalarRegression)  # validated with the config
        errors = support.errors(outputs, values)
        return F.huber_loss(errors, torch.zeros_like(errors), reduction="none", delta=delta)

    return huber


def _own_loss(support: ValueSupport, outputs: Tensor, values: Tensor) -> Tensor:
    return support.loss(outputs, values)

"""What the loss is computed from: a training batch on the device.

Made by the loader. The parts of the loss read it; which fields are there depends on the config.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInput:
    """A training batch on the device."""

    root_observations: Tensor  # u8 or f32 [B, *observation] o[t]
    next_observations: Tensor | None  # the same [B, K, *observation] o[t+1] .. o[t+K]
    actions: Tensor  # i64 [B, K]; [B, K + 1] where action values are trained
    value_prefixes: Tensor  # f32 [B, K]
    values: Tensor  # f32 [B, K + 1]
    policies: Tensor  # f32 [B, K + 1, W]; all zero where there is no policy target
    mask: Tensor  # f32, shape of actions; 1 where action t+k exists
    importance_weights: Tensor  # f32 [B]
    auxiliary_values: Tensor | None = None  # f32 [B, H, K + 1]; None: there is one horizon
    action_value_targets: Tensor | None = None  # f32 [B, K + 1, A], NaN: none; None: no part
    value_distributions: Tensor | None = None  # f32 [B, K + 1, bins] where they are trained
    # Only of continuous actions, whose ``actions`` are all 0:
    continuous_actions: Tensor | None = None  # f32 [B, K, X] in -1..1
    policy_actions: Tensor | None = None  # f32 [B, K + 1, W, X] the slots of ``policies``
    best_actions: Tensor | None = None  # f32 [B, K + 1, X]
    # Only before ``LocalTargets`` has completed ``values``:
    bootstrap_observations: Tensor | None = None  # u8 or f32 [B, K + 1, *observation]
    bootstrap_discounts: Tensor | None = None  # f32 [B, K + 1] what their values count; or 0
    bootstrap_legal_actions: Tensor | None = None  # bool [B, K + 1, A]; None: all are

    @property
    def num_unroll_steps(self) -> int:
        """K."""
        return self.value_prefixes.shape[1]

    @property
    def taken_actions(self) -> Tensor:
        """Return what the model is unrolled with: i64 [B, K] or more, or f32 [B, K, X]."""
        return self.actions if self.continuous_actions is None else self.continuous_actions

    @property
    def step_mask(self) -> Tensor:
        """Return f32 [B, K], 1 where the step from o[t + k] exists."""
        return self.mask[:, : self.num_unroll_steps]

    @property
    def reached(self) -> Tensor:
        """Return f32 [B, K + 1], 1 where o[t + k] exists."""
        return torch.cat([torch.ones_like(self.importance_weights)[:, None], self.step_mask], 1)


def importance_weights(probabilities: Tensor, table_sizes: Tensor, exponent: float) -> Tensor:
    """Return (N P)^-beta over its largest value in the batch, f32 [B] (PER, section 3.4)."""
    weights = (table_sizes * probabilities) ** -exponent
    return (weights / weights.max()).float()

"""What the loss and its parts get and return; ``unrolled_loss`` adds the parts up.

``parts`` lists the parts. Shapes by the legend in ``efficientzero.schema``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from efficientzero.networks import EfficientZeroNet


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInput:
    """A training batch on the device."""

    root_observations: Tensor  # u8 or f32 [B, *observation] o[t]
    next_observations: Tensor | None  # the same [B, K, *observation] o[t+1] .. o[t+K]
    actions: Tensor  # i64 [B, K]; [B, K + 1] where action values are trained
    value_prefixes: Tensor  # f32 [B, K]
    values: Tensor  # f32 [B, K + 1]
    policies: Tensor  # f32 [B, K + 1, A]; all zero where there is no policy target
    mask: Tensor  # f32, shape of actions; 1 where action t+k exists
    importance_weights: Tensor  # f32 [B]
    auxiliary_values: Tensor | None = None  # f32 [B, H, K + 1]; None: there is one horizon
    action_value_targets: Tensor | None = None  # f32 [B, K + 1, A], NaN: none; None: no part
    value_distributions: Tensor | None = None  # f32 [B, K + 1, bins] where they are trained
    # Only before ``LocalTargets`` has completed ``values``:
    bootstrap_observations: Tensor | None = None  # u8 or f32 [B, K + 1, *observation]
    bootstrap_discounts: Tensor | None = None  # f32 [B, K + 1] what their values count; or 0

    @property
    def num_unroll_steps(self) -> int:
        """K."""
        return self.value_prefixes.shape[1]

    @property
    def step_mask(self) -> Tensor:
        """Return f32 [B, K], 1 where the step from o[t + k] exists."""
        return self.mask[:, : self.num_unroll_steps]

    @property
    def reached(self) -> Tensor:
        """Return f32 [B, K + 1], 1 where o[t + k] exists."""
        return torch.cat([torch.ones_like(self.importance_weights)[:, None], self.step_mask], 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """The loss and its parts."""

    total: Tensor  # f32 [] mean over the batch of importance weight * loss; minimised
    loss: Tensor  # f32 [] the same without importance weights
    parts: Mapping[str, Tensor]  # f32 [B, K + 1] or [B, K] each: unweighted, masked, no gradient
    priorities: Tensor  # f32 [B] |v(o[t]) - z[0]|, raw scale, or what ``priority`` returns
    value_targets: Tensor  # f32 [B, K + 1] z
    # For the statistics, without gradient:
    latents: Tensor  # f32 [B, *latent] of o[t]
    value_logits: Tensor  # f32 [B, K + 1, bins] as in ``Unrolled``
    value_prefix_logits: Tensor  # f32 [B, K, bins]
    policy_logits: Tensor  # f32 [B, K + 1, A]


class Unrolled(NamedTuple):
    """The network's outputs for a batch: the input of the loss parts."""

    network: EfficientZeroNet
    latents: Sequence[Tensor]  # K + 1 times f32 [B, *latent], of o[t] first
    value_logits: Tensor  # f32 [B, K + 1, bins] of what the value loss trains: V(s) or Q(s, a)
    policy_logits: Tensor  # f32 [B, K + 1, A]
    value_prefix_logits: Tensor  # f32 [B, K, bins]
    next_latents: Tensor | None
    """f32 [B, K, *latent] of the true o[t+1] .. o[t+K], no gradient; None if no part needs them."""
    auxiliary_value_logits: Tensor | None = None
    """f32 [B, K + 1, H, bins]; None: the network has no such head."""
    action_value_logits: Tensor | None = None
    """f32 [B, K + 1, A, bins]; None if no part needs them."""


PriorityRule = Callable[[Unrolled, LossInput], Tensor]
"""Returns the new priorities of a batch's slices, f32 [B], at least 0."""


class LossPart(NamedTuple):
    """One part of the loss."""

    name: str
    """Key in ``LossTerms.parts``, and the metric ``learner/<name>_loss``."""
    coefficient: float
    """Weight in the loss. 0: the part is reported but not trained on."""
    per_step: Callable[[Unrolled, LossInput], Tensor]
    """Returns the loss of each step, f32 [B, K + 1] with o[t] first, or [B, K] without it.

    Steps past the end of an episode are masked by ``compute_loss``."""
    needs_next_observations: bool = False
    """Whether it reads ``LossInput.next_observations``, or what is made of them."""
    needs_next_latents: bool = False
    """Whether it reads ``Unrolled.next_latents``; needs the next observations, too."""
    needs_action_values: bool = False
    """Whether it reads ``Unrolled.action_value_logits``."""
    decay_train_steps: int = 0
    """Train_steps in which the coefficient falls linearly to 0; from then on the part is left out.
    0: the coefficient stays."""
    after_update: Callable[[EfficientZeroNet, Tensor], None] | None = None
    """Called after each step of the optimiser with the network and whether the step was skipped,
    bool [] on the device; for weights that follow the trained ones."""


def parts_at(parts: Sequence[LossPart], train_step: int) -> Sequence[LossPart]:
    """Return the parts with their coefficients at ``train_step``, less those that have ended."""
    return [
        part._replace(coefficient=part.coefficient * (1.0 - train_step / part.decay_train_steps))
        if part.decay_train_steps
        else part
        for part in parts
        if not part.decay_train_steps or train_step < part.decay_train_steps
    ]

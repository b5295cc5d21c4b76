"""Actions of a root's slots, drawn from the network's policy over continuous actions.

Used by ``BatchedSearch``. With exploration a half of them is drawn from a wider policy
(EfficientZero V2, Wang et al., 2024, on sampled searches).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from efficientzero.config import SearchConfig
from efficientzero.inference import SlotShape
from efficientzero.networks import squashed_gaussian
from efficientzero.networks.actions.squashed_gaussian import Gaussian
from efficientzero.schema import F32
from mcts_cpp import sampled_logits


class RootSlots(NamedTuple):
    """What the searches of B roots begin with."""

    actions: Tensor  # f32 [B, W, X] on the device
    prior_logits: F32  # [B, W]
    inner_noise: Tensor  # f32 [M, B, inner, X] on the host: of all other nodes


class RootSampler:
    """Draws the slots of B roots."""

    def __init__(
        self, search: SearchConfig, shape: SlotShape, *, batch_size: int, device: torch.device
    ) -> None:
        """Keep the settings.

        Args:
            search: number of simulations, prior, and how much wider the second half is.
            shape: of the slots.
            batch_size: B.
            device: where the policies are.
        """
        self._search, self._shape = search, shape
        self._batch_size, self._device = batch_size, device
        self._num_wide = shape.num_slots // 2 if search.sampled_wide_factor != 1.0 else 0

    def draw(self, outputs: Tensor, generator: np.random.Generator, *, explores: bool) -> RootSlots:
        """Return the slots; all noise of a search is drawn here.

        Args:
            outputs: of the policy head at the roots, [B, 2 X].
            generator: draws W + M inner times X standard normal numbers a root.
            explores: the last half of the slots is drawn from the wider policy.
        """
        num_slots, num_inner, size = self._shape
        shape = (self._batch_size, num_slots, size)
        noise = generator.standard_normal(shape, dtype=np.float32)
        inner = generator.standard_normal(
            (self._search.num_simulations, self._batch_size, num_inner, size), dtype=np.float32
        )
        num_wide = self._num_wide if explores else 0
        if num_wide:
            noise[:, num_slots - num_wide :] *= np.float32(self._search.sampled_wide_factor)
        policy = squashed_gaussian.parameters(outputs[:, None])  # [B, 1, X]
        actions = squashed_gaussian.draw(policy, torch.from_numpy(noise).to(self._device))
        logits = np.zeros(shape[:2], np.float32)
        if num_wide and self._search.sampled_prior == "corrected":
            wide_share = num_wide / num_slots
            logits = corrected_logits(
                actions, policy, wide_share=wide_share, factor=self._search.sampled_wide_factor
            )
        return RootSlots(actions, logits, torch.from_numpy(inner))


def corrected_logits(actions: Tensor, policy: Gaussian, *, wide_share: float, factor: float) -> F32:
    """Return log pi(a) - log beta(a), f32 [..., W], with beta = (1 - w) pi + w pi_w.

    The prior of sampled actions (Sampled MuZero, Hubert et al., 2021), of which a share w was drawn
    from pi_w, the policy with another scale.

    Args:
        actions: f32 [..., W, X].
        policy: pi.
        wide_share: w, more than 0 and less than 1.
        factor: scale of pi_w over that of pi.
    """
    wide = Gaussian(policy.mean, factor * policy.scale)
    log_pi = squashed_gaussian.log_prob(actions, policy)
    log_wide = squashed_gaussian.log_prob(actions, wide)
    log_beta = torch.logaddexp(math.log(1.0 - wide_share) + log_pi, math.log(wide_share) + log_wide)
    return sampled_logits(log_pi.cpu().numpy(), log_beta.cpu().numpy())

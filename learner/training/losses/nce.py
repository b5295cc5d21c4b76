"""InfoNCE: tell the true next observation of each step from those of other slices.

Both branches get gradients. The negatives are the whole batch's, also where several ranks share it.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from learner.training.losses.loss_input import LossInput
from learner.training.losses.unrolled_loss import Unrolled

_NORM_EPSILON = 1e-5


class Gather(Protocol):
    """Joins the rows of all ranks; gradients return to the rank that a row is from."""

    def __call__(self, rows: Tensor, /) -> tuple[Tensor, int]:
        """Return the rows [B, ...] of all ranks in their order, and where this one's begin."""


def own_rows(rows: Tensor) -> tuple[Tensor, int]:
    """Return ``rows``: those of a learner on one device."""
    return rows, 0


def nce(
    unrolled: Unrolled,
    batch: LossInput,
    *,
    temperature: float,
    same_episode_negatives: bool,
    gather: Gather,
) -> Tensor:
    """Return the loss of each unrolled step, f32 [B, K]: the mean of both directions.

    Prediction (b, k) must find its true projection among those of all slices and steps, and the
    projection its prediction. Steps past the end of an episode are no negatives. Other steps of
    the same slice, whose frames are almost the same, are none either unless asked for.

    Args:
        unrolled: the network's outputs.
        batch: with next observations.
        temperature: divides the cosines.
        same_episode_negatives: whether other steps of the same slice are negatives.
        gather: joins the rows of all ranks.
    """
    network, following = unrolled.network, batch.next_observations
    assert following is not None
    size, num_steps = batch.step_mask.shape
    encoded = network.representation(following.flatten(0, 1))
    targets = network.contrast_projector(encoded.flatten(1)).view(size, num_steps, -1)
    predicted = torch.stack(
        [network.project(latents, with_predictor=True) for latents in unrolled.latents[1:]], 1
    )
    is_real = batch.step_mask > 0
    pairs = torch.stack([predicted.float(), targets.float()], 1)  # [B, 2, K, P]
    # Zeros before normalising: numbers of steps that do not exist reach neither loss nor gradient.
    pairs = F.normalize(
        torch.where(is_real[:, None, :, None], pairs, 0.0), dim=-1, eps=_NORM_EPSILON
    )
    all_pairs, first = gather(pairs)
    all_real, _ = gather(is_real)
    own = torch.arange(size * num_steps, device=pairs.device)
    positives = own + first * num_steps
    left_out = ~all_real.flatten().expand(len(own), -1)
    if not same_episode_negatives:
        slices = torch.arange(all_real.numel(), device=pairs.device) // num_steps
        left_out = left_out | (slices[positives][:, None] == slices)
    one, other = (pairs[:, branch].flatten(0, 1) for branch in (0, 1))
    all_one, all_other = (all_pairs[:, branch].flatten(0, 1) for branch in (0, 1))
    losses = 0.5 * (
        info_nce(one, all_other, positives, left_out, temperature)
        + info_nce(other, all_one, positives, left_out, temperature)
    )
    return torch.where(is_real, losses.view(size, num_steps), 0.0)


def info_nce(
    anchors: Tensor, candidates: Tensor, positives: Tensor, left_out: Tensor, temperature: float
) -> Tensor:
    """Return -log of the positives' share, f32 [N] (van den Oord et al., 2018, eq. 4).

    Args:
        anchors: f32 [N, P] unit vectors.
        candidates: f32 [M, P] unit vectors.
        positives: i64 [N], each anchor's positive among the candidates.
        left_out: bool [N, M], candidates that are no negatives of an anchor; its positive counts
            in any case.
        temperature: divides the cosines.
    """
    # bfloat16 would round a cosine over a temperature of 0.1 to 1/25.
    with torch.autocast(anchors.device.type, enabled=False):
        logits = anchors @ candidates.T / temperature  # [N, M]
    is_positive = torch.arange(len(candidates), device=positives.device) == positives[:, None]
    logits = logits.masked_fill(left_out & ~is_positive, -torch.inf)
    return F.cross_entropy(logits, positives, reduction="none")

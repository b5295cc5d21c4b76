"""SimSiam and SPR: the negative cosine of predicted and true projections.

They differ in who projects the true next observations: the live weights, without gradient, or an
exponential moving average of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from efficientzero.networks import EfficientZeroNet
from learner.training.losses.loss_input import LossInput
from learner.training.losses.unrolled_loss import Unrolled

_COSINE_EPSILON = 1e-5


def simsiam(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return the loss of each unrolled step, f32 [B, K] (SimSiam: Chen and He, 2021, eq. 1)."""
    del batch
    network, next_latents = unrolled.network, unrolled.next_latents
    assert next_latents is not None
    with torch.no_grad():
        projections = network.project(next_latents.flatten(0, 1), with_predictor=False)
    return _negative_cosines(unrolled, projections.view(*next_latents.shape[:2], -1))


def spr(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return the loss of each unrolled step, f32 [B, K] (SPR: Schwarzer et al., 2021).

    SPR predicts with the first layer of its Q head. Here projector and predictor are SimSiam's.
    """
    network, following = unrolled.network, batch.next_observations
    assert following is not None
    with torch.no_grad():
        latents = network.momentum_representation(following.flatten(0, 1))
        projections = network.momentum_projector(latents.flatten(1))
    return _negative_cosines(unrolled, projections.view(*following.shape[:2], -1))


@torch.no_grad()
def follow_weights(network: EfficientZeroNet, is_skipped: Tensor, *, tau: float) -> None:
    """Move SPR's averages towards the live weights: m <- tau m + (1 - tau) w; waits for no device.

    Args:
        network: with the live modules and their averages.
        is_skipped: bool [], on the network's device. True: no update was made, and none is made
            here.
        tau: share of the old average that stays. 0: the averages equal the live weights.
    """
    averages = [
        *network.momentum_representation.parameters(),
        *network.momentum_projector.parameters(),
    ]
    live = [*network.representation.parameters(), *network.projector.parameters()]
    share = (1.0 - tau) * (~is_skipped).to(live[0].dtype)
    for average, weight in zip(averages, live, strict=True):
        average.lerp_(weight, share)  # exact at both ends: 0 leaves it, 1 copies


def _negative_cosines(unrolled: Unrolled, targets: Tensor) -> Tensor:
    """Return the loss for ``targets``, [B, K, projection_size]."""
    cosines = [
        F.cosine_similarity(
            unrolled.network.project(latents, with_predictor=True).float(),
            targets[:, k].float(),
            dim=1,
            eps=_COSINE_EPSILON,
        )
        for k, latents in enumerate(unrolled.latents[1:])
    ]
    return -torch.stack(cosines, 1)

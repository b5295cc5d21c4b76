"""Consistency losses: compare predicted latents with the encoded latents of the true observations.

To add one, write a function like ``cosine`` in this folder and a row in ``CONSISTENCY_LOSSES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from learner.training.losses.unrolled_loss import LossInput, Unrolled

_COSINE_EPSILON = 1e-5


def cosine(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return the negative cosine of predicted and true projections, f32 [B, K] (SimSiam, eq. 1)."""
    del batch
    network, next_latents = unrolled.network, unrolled.next_latents
    assert next_latents is not None
    with torch.no_grad():
        projections = network.project(next_latents.flatten(0, 1), with_predictor=False)
    targets = projections.view(*next_latents.shape[:2], -1)  # [B, K, P]
    cosines = [
        F.cosine_similarity(
            network.project(latents, with_predictor=True).float(),
            targets[:, k].float(),
            dim=1,
            eps=_COSINE_EPSILON,
        )
        for k, latents in enumerate(unrolled.latents[1:])
    ]
    return -torch.stack(cosines, 1)


CONSISTENCY_LOSSES: Mapping[str, Callable[[Unrolled, LossInput], Tensor]] = {"cosine": cosine}
"""By name, ``LossPart.per_step`` of each."""

"""Reconstruction: latents must hold what the newest frame shows."""

from __future__ import annotations

import torch
from torch import Tensor

from learner.training.losses.loss_input import LossInput
from learner.training.losses.unrolled_loss import Unrolled


def reconstruction(unrolled: Unrolled, batch: LossInput) -> Tensor:
    """Return the mean squared error of the decoded newest frames, f32 [B, K + 1].

    Frames are those that the encoder saw, augmented. Frames of vectors are compared in the space
    sign(x) ln(1 + |x|).
    """
    decoder = unrolled.network.decoder
    targets = [decoder.targets(batch.root_observations)]
    if batch.next_observations is not None:
        targets += [decoder.targets(seen) for seen in batch.next_observations.unbind(1)]
    # One call: batch norm is over all steps.
    frames = decoder(torch.cat(list(unrolled.latents)))
    errors: Tensor = (frames - torch.cat(targets)).square().flatten(1).mean(1)
    return errors.view(len(unrolled.latents), -1).T

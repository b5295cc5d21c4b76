"""Evaluation-mode values, as actors and reanalyzers see them, of a batch before training on it.

Training normalises each call by its own batch, search by running statistics. If the running
statistics are off, the two give different values for one observation, and bootstraps use search's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from efficientzero.config import Config
from efficientzero.networks import EfficientZeroNet
from efficientzero.process.devices import precision_context
from learner.training.losses import LossInput, trained_value_logits, unroll


@torch.no_grad()
def eval_values(network: EfficientZeroNet, batch: LossInput, config: Config) -> Tensor:
    """Return what ``LossTerms.value_logits`` stand for in evaluation mode, f32 [B, K + 1].

    Changes neither weights nor statistics; the network is in training mode before and after.
    """
    device = batch.actions.device
    network.eval()
    try:
        # Use the uncompiled network: compiling it again for these few calls would not pay.
        with (
            torch.compiler.set_stance("force_eager"),
            precision_context(config.learner.precision, device),
        ):
            root, steps = unroll(network, batch, agent=config.agent, gradient_scaling="muzero")
            return network.answer_rule.decode(trained_value_logits(network, batch, root, steps))
    finally:
        network.train()

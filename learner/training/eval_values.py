"""Evaluation-mode values, as actors and reanalyzers see them, of a batch before training on it.

Training normalises each call by its own batch, search by running statistics. If the running
statistics are off, the two give different values for one observation, and bootstraps use search's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from efficientzero.config import Config
from efficientzero.networks import EfficientZeroNet, silence
from efficientzero.process.devices import precision_context
from learner.training.losses import LossInput, trained_value_logits, unroll


@torch.no_grad()
def eval_values(network: EfficientZeroNet, batch: LossInput, config: Config) -> Tensor:
    """Return what ``LossTerms.value_logits`` stand for in evaluation mode, f32 [B, K + 1].

    Changes neither weights nor statistics; the network is in training mode before and after. Noisy
    layers have no noise here, nor until the next train_step draws it.
    """
    device = batch.actions.device
    silence(network)
    with in_evaluation_mode(network), precision_context(config.learner.precision, device):
        root, steps = unroll(network, batch, agent=config.agent, gradient_scaling="muzero")
        return network.answer_rule.decode(trained_value_logits(network, batch, root, steps))


@contextmanager
def in_evaluation_mode(network: EfficientZeroNet) -> Iterator[None]:
    """Use a network that is in training mode in evaluation mode, and uncompiled.

    Compiling it again for a few calls would not pay.
    """
    network.eval()
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        network.train()

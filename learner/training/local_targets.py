"""Value targets that the learner completes itself, with a frozen copy of its network.

Used by the updates of every rank where ``learner.target_network`` is ``local``. The copy is renewed
every ``learner.target_interval`` train_steps, before the loss of that step (DQN: Mnih et al., 2015,
algorithm 1), so that its age is exact on any machine.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from efficientzero.config import Config, has_local_targets
from efficientzero.networks import (
    AUXILIARY_HEADS,
    EfficientZeroNet,
    InitialInference,
    ScalarRegression,
    project,
)
from efficientzero.process.devices import precision_context
from learner.training.eval_values import in_evaluation_mode
from learner.training.losses import LossInput
from learner.training.network import draw_training_noise


class LocalTargets:
    """The frozen network, and the targets that it completes."""

    def __init__(self, network: EfficientZeroNet, config: Config) -> None:
        """Begin with the current weights of ``network``, before parts of it are compiled."""
        self._live, self._config = network, config
        self._device = next(network.parameters()).device
        self._frozen = copy.deepcopy(network).eval().requires_grad_(False)
        for name, _ in list(self._frozen.named_children()):
            if name in AUXILIARY_HEADS:
                delattr(self._frozen, name)

    @torch.no_grad()
    def complete(self, inputs: LossInput, train_step: int) -> LossInput:
        """Return ``inputs`` with complete values; first renew the frozen weights if that is due.

        y[k] = sum of l rewards + discount^l * V(o[t + k + l]), V (or the largest Q) by the frozen
        network in evaluation mode on observations that are not augmented, as reanalyzers do it.

        Args:
            inputs: its ``values`` are sums of rewards, f32 [B, K + 1].
            train_step: counted from 0.
        """
        if train_step % self._config.learner.target_interval == 0:
            self.begin_again()
        draw_training_noise(self._frozen, self._config, train_step, is_frozen=True)
        observations, discounts = inputs.bootstrap_observations, inputs.bootstrap_discounts
        assert observations is not None and discounts is not None
        logits = self._value_logits(observations, inputs.bootstrap_legal_actions)
        tails = discounts * self._frozen.answer_rule.decode(logits)
        distributions = None
        if self._config.agent.value_distribution == "categorical":
            support = self._frozen.support
            assert not isinstance(support, ScalarRegression)  # validated with the config
            distributions = project(support, logits, inputs.values, discounts)
        return dataclasses.replace(
            inputs,
            # Where nothing follows, the observation is any.
            values=inputs.values + torch.where(discounts > 0, tails, 0.0),
            value_distributions=distributions,
            bootstrap_observations=None,
            bootstrap_discounts=None,
            bootstrap_legal_actions=None,
        )

    def begin_again(self) -> None:
        """Renew the frozen weights: those of the network as they are now."""
        self._frozen.load_inference_state_dict(self._live.inference_state_dict())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the frozen weights; the tensors are the live ones, not copies."""
        return self._frozen.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the weights of ``state_dict``."""
        self._frozen.load_inference_state_dict(state)

    def _value_logits(self, observations: Tensor, legal_actions: Tensor | None) -> Tensor:
        """Return the frozen network's of [B, K + 1, *observation], f32 [B, K + 1, bins].

        They stand for V, or for Q of the legal action with the largest Q: that of the frozen
        network, or of the live one (double Q-learning: van Hasselt, Guez and Silver, 2016).
        """
        flat = observations.flatten(0, 1)
        frozen, rule = self._said(self._frozen, flat), self._frozen.answer_rule
        logits = frozen.value_logits
        if rule.value == "max_action":
            assert frozen.action_value_logits is not None
            chooser = self._live_said(flat) if self._config.agent.double_q else frozen
            q = rule.action_values(chooser)
            if legal_actions is not None:
                q = q.masked_fill(~legal_actions.flatten(0, 1), -torch.inf)
            best = q.argmax(1)
            logits = frozen.action_value_logits[torch.arange(len(best), device=best.device), best]
        return logits.view(*observations.shape[:2], -1)

    def _live_said(self, observations: Tensor) -> InitialInference:
        with in_evaluation_mode(self._live):
            return self._said(self._live, observations)

    def _said(self, network: EfficientZeroNet, observations: Tensor) -> InitialInference:
        with precision_context(self._config.learner.precision, self._device):
            return network.initial_inference(observations)


def local_targets(network: EfficientZeroNet, config: Config) -> LocalTargets | None:
    """Return what completes the run's value targets; None where reanalyzers do."""
    return LocalTargets(network, config) if has_local_targets(config) else None

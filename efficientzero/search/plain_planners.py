"""Planners that do not search: every action alike, and the policy head alone.

Actors are uniform before training, when a search with untrained weights would cost the same time
as any other and find nothing; ``evaluate`` compares both with the search.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from efficientzero.networks import (
    EfficientZeroNet,
    InitialInference,
    node_answers,
    squashed_gaussian,
)
from efficientzero.schema import F32, Frames, Roots, SearchResult
from efficientzero.search.illegal import with_illegal_out


class UniformPlanner:
    """Knows nothing: every legal action alike, all values zero."""

    batch_size = sys.maxsize
    num_simulations = 0
    on_gpu = False
    plays_best = False

    def __init__(
        self, policy_width: int, generator: np.random.Generator, *, action_size: int = 0
    ) -> None:
        """Keep W and X, and what ``best_actions`` and continuous actions are drawn from."""
        self._policy_width, self._action_size = policy_width, action_size
        self._generator = generator

    def run(self, roots: Roots, *, exploration_noise: bool) -> SearchResult:
        """Return one visit for each legal action; the best one is drawn.

        Continuous actions in the slots are uniform in -1..1.
        """
        del exploration_noise
        shape = (len(roots), self._policy_width)
        legal = np.ones(shape, np.bool_) if roots.legal_actions is None else roots.legal_actions
        counts = legal.sum(axis=1)
        drawn = self._generator.integers(counts)
        return SearchResult(
            visit_counts=legal.astype(np.int32),
            policies=(legal / counts[:, None]).astype(np.float32),
            best_actions=(legal.cumsum(axis=1) > drawn[:, None]).argmax(axis=1).astype(np.int32),
            root_values=np.zeros(len(roots), np.float32),
            predicted_values=np.zeros(len(roots), np.float32),
            prior_logits=with_illegal_out(np.zeros(shape, np.float32), roots.legal_actions),
            search_depths=np.zeros(len(roots), np.int32),
            child_q=np.empty((len(roots), 0), np.float32),
            slot_actions=self._slot_actions(len(roots)),
        )

    def _slot_actions(self, num_roots: int) -> F32:
        if not self._action_size:
            return np.empty((num_roots, 0, 0), np.float32)
        shape = (num_roots, self._policy_width, self._action_size)
        return self._generator.uniform(-1.0, 1.0, shape).astype(np.float32)

    def network_values(self, observations: Frames | Tensor) -> F32:
        """Return zeros: there is no network."""
        return np.zeros(len(observations), np.float32)

    def values_and_policies(self, observations: Frames | Tensor) -> tuple[F32, F32]:
        """Return zeros, and every action alike."""
        shape = (len(observations), self._policy_width)
        policies = np.full(shape, 1.0 / self._policy_width, np.float32)
        return self.network_values(observations), policies

    def horizon_values(self, observations: Frames | Tensor) -> F32:
        """Return zeros of one horizon."""
        return self.network_values(observations)[:, None]

    def network_action_values(self, observations: Frames | Tensor) -> F32:
        """Return zeros, [N, A]."""
        return np.zeros((len(observations), self._policy_width), np.float32)


class PriorPlanner:
    """The policy head's most likely action: no search, no model."""

    batch_size = sys.maxsize
    num_simulations = 0
    plays_best = False

    def __init__(self, network: EfficientZeroNet, device: torch.device) -> None:
        """Keep the network, in eval mode on ``device``."""
        self.on_gpu = device.type != "cpu"
        self._network, self._device = network, device

    @torch.inference_mode()
    def run(self, roots: Roots, *, exploration_noise: bool) -> SearchResult:
        """Return one visit at the most likely legal action; policies are the head's over those.

        Of continuous actions there is one slot, with the policy's median.
        """
        del exploration_noise
        if self._network.spec.action_kind == "continuous":
            return self._median_actions(roots)
        answers = node_answers(self._outputs(roots.observations), self._network.answer_rule)
        logits, values = answers.prior_logits, answers.values.cpu().numpy()
        prior_logits = with_illegal_out(logits.cpu().numpy(), roots.legal_actions)
        if roots.legal_actions is not None:
            legal = torch.as_tensor(roots.legal_actions, device=self._device)
            logits = logits.masked_fill(~legal, -torch.inf)
        best = logits.argmax(1).cpu().numpy().astype(np.int32)
        return SearchResult(
            visit_counts=np.eye(logits.shape[1], dtype=np.int32)[best],
            policies=logits.softmax(1).cpu().numpy(),
            best_actions=best,
            root_values=values,
            predicted_values=values,
            prior_logits=prior_logits,
            search_depths=np.zeros(len(roots), np.int32),
            child_q=np.empty((len(roots), 0), np.float32),
            slot_actions=np.empty((len(roots), 0, 0), np.float32),
        )

    def _median_actions(self, roots: Roots) -> SearchResult:
        said = self._outputs(roots.observations)
        policy = squashed_gaussian.parameters(said.policy_logits)
        values = self._network.answer_rule.values(said).cpu().numpy()
        ones = np.ones((len(roots), 1), np.float32)
        return SearchResult(
            visit_counts=ones.astype(np.int32),
            policies=ones,
            best_actions=np.zeros(len(roots), np.int32),
            root_values=values,
            predicted_values=values,
            prior_logits=np.zeros_like(ones),
            search_depths=np.zeros(len(roots), np.int32),
            child_q=np.empty((len(roots), 0), np.float32),
            slot_actions=policy.mean.tanh()[:, None].cpu().numpy(),
        )

    @torch.inference_mode()
    def network_values(self, observations: Frames | Tensor) -> F32:
        """Return the network's values, f32 [N]."""
        values: F32 = self._network.answer_rule.values(self._outputs(observations)).cpu().numpy()
        return values

    @torch.inference_mode()
    def values_and_policies(self, observations: Frames | Tensor) -> tuple[F32, F32]:
        """Return ``network_values`` and the policy head's probabilities; see ``Planner``."""
        said, rule = self._outputs(observations), self._network.answer_rule
        return rule.values(said).cpu().numpy(), rule.policies(said).cpu().numpy()

    @torch.inference_mode()
    def horizon_values(self, observations: Frames | Tensor) -> F32:
        """Return the network's values of all horizons, f32 [N, 1 + H]."""
        said = self._outputs(observations)
        values: F32 = self._network.answer_rule.horizon_values(said).cpu().numpy()
        return values

    @torch.inference_mode()
    def network_action_values(self, observations: Frames | Tensor) -> F32:
        """Return the network's Q(s, a), f32 [N, A]."""
        values = self._network.answer_rule.action_values(self._outputs(observations))
        found: F32 = values.cpu().numpy()
        return found

    def _outputs(self, observations: Frames | Tensor) -> InitialInference:
        # A copy: the stack's view is not always writable, and torch warns of that.
        shown = observations if isinstance(observations, Tensor) else torch.tensor(observations)
        return self._network.initial_inference(shown.to(self._device))

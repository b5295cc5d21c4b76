"""A planner that does not search: the network's own action values, of one initial inference."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from efficientzero.config import SearchConfig
from efficientzero.inference import SearchNetwork
from efficientzero.networks import (
    EfficientZeroNet,
    InitialInference,
    draw_noise,
    node_answers,
    noisy_layers,
    silence,
)
from efficientzero.schema import F32, Frames, Roots, SearchResult
from efficientzero.search.illegal import best_legal, with_illegal_out
from efficientzero.search.improved_policy import improved_policy, softmax_q


class NetworkPlanner:
    """Q-learning's planner: the best action is the one with the largest Q(s, a)."""

    num_simulations = 0
    plays_best = True

    def __init__(
        self,
        network: EfficientZeroNet,
        *,
        search: SearchConfig,
        batch_size: int,
        device: torch.device,
        generator: np.random.Generator,
    ) -> None:
        """Store the network.

        Args:
            network: with a head for action values, on ``device`` and in eval mode; its weights may
                change between runs.
            search: backend and precision of the inference, and what ``policies`` are.
            batch_size: the most roots of one run.
            device: where the network lives.
            generator: for the noise of noisy layers, if there are any.
        """
        self._generator, self._is_noisy = generator, bool(noisy_layers(network))
        self._network = network
        self.batch_size, self.on_gpu = batch_size, device.type != "cpu"
        self._rule, self._device, self._search = network.answer_rule, device, search
        self._improve = improved_policy(search)
        self._inference = SearchNetwork(
            network,
            backend=search.inference_backend,
            precision=search.precision,
            batch_size=batch_size,
        )

    @torch.inference_mode()
    def run(self, roots: Roots, *, exploration_noise: bool) -> SearchResult:
        """Return the network's answers at the roots: no visits.

        ``exploration_noise`` draws that of noisy layers, one for all roots; there is no other.

        Values are the largest Q of the legal actions. ``policies`` are softmax(Q / q_temperature)
        over them, or what ``search.improved_policy`` names.

        Raises:
            ValueError: N out of range, or the network answered with a number that is not finite.
        """
        if self._is_noisy:
            self._renew_noise(is_drawn=exploration_noise)
        if not 1 <= len(roots) <= self.batch_size:
            raise ValueError(f"observations: got {len(roots)} roots, wanted 1 to {self.batch_size}")
        said = self._inference.initial_inference(self._on_device(roots.observations))
        q, logits = (
            _to_numpy(answer)
            for answer in (
                self._rule.action_values(said),
                node_answers(said, self._rule).prior_logits,
            )
        )
        if not np.isfinite(q).all():
            raise ValueError("action values: got numbers that are not finite, wanted finite ones")
        legal = roots.legal_actions
        best_q = q if legal is None else np.where(legal, q, -np.inf)
        values = best_legal(q, legal)
        result = SearchResult(
            visit_counts=np.zeros(q.shape, np.int32),
            policies=softmax_q(q.astype(np.float64), self._search.q_temperature, legal).astype(
                np.float32
            ),
            best_actions=best_q.argmax(axis=1).astype(np.int32),
            root_values=values,
            predicted_values=values,
            prior_logits=with_illegal_out(logits, legal),
            search_depths=np.zeros(len(q), np.int32),
            child_q=q,
            slot_actions=np.empty((len(q), 0, 0), np.float32),
        )
        if self._improve is None:
            return result
        return result._replace(policies=self._improve(result, legal))

    @torch.inference_mode()
    def network_values(self, observations: Frames | Tensor) -> F32:
        """Return the largest Q(s, a) of [N, *observation], any N, raw scale, f32 [N].

        Always computed in float32: a target keeps the precision that acting may do without.
        """
        values: F32 = self.network_action_values(observations).max(axis=1)
        return values

    @torch.inference_mode()
    def network_action_values(self, observations: Frames | Tensor) -> F32:
        """Return Q(s, a) of every action in the same way, f32 [N, A]."""
        return _to_numpy(self._rule.action_values(self._in_float32(observations)))

    @torch.inference_mode()
    def values_and_policies(self, observations: Frames | Tensor) -> tuple[F32, F32]:
        """Return ``network_values`` and the policy head's probabilities; see ``Planner``."""
        said = self._in_float32(observations)
        return _to_numpy(self._rule.values(said)), _to_numpy(self._rule.policies(said))

    @torch.inference_mode()
    def horizon_values(self, observations: Frames | Tensor) -> F32:
        """Return the values of all horizons in the same way, f32 [N, 1 + H].

        Raises:
            ValueError: the network has one horizon only.
        """
        return _to_numpy(self._rule.horizon_values(self._in_float32(observations)))

    def _in_float32(self, observations: Frames | Tensor) -> InitialInference:
        if self._is_noisy:
            self._renew_noise(is_drawn=False)
        self._inference.refresh()
        return self._inference.network.initial_inference(self._on_device(observations))

    def _renew_noise(self, *, is_drawn: bool) -> None:
        if is_drawn:
            draw_noise(self._network, int(self._generator.integers(2**63)))
        else:
            silence(self._network)

    def _on_device(self, observations: Frames | Tensor) -> Tensor:
        return torch.as_tensor(observations).to(self._device)


def _to_numpy(tensor: Tensor) -> F32:
    return np.ascontiguousarray(tensor.float().cpu().numpy())

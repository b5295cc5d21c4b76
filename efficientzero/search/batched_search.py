"""One batched Monte-Carlo tree search: the network on the device, the trees in C++.

Built by ``make_planner``. Latents never leave the device: they live in
pools indexed by (simulation, tree), because simulation i expands node i of every tree. On a GPU
the roots are split in halves, so that one half's trees work while the other's network does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from efficientzero.config import AgentConfig, CompatConfig, SearchConfig
from efficientzero.inference import SearchNetwork, SlotShape
from efficientzero.networks import EfficientZeroNet, InitialInference, node_answers
from efficientzero.schema import F32, Bool, Frames, Roots, SearchResult
from efficientzero.search.illegal import best_legal, with_illegal_out
from efficientzero.search.root_slots import RootSampler
from efficientzero.search.search_part import SearchPart

if TYPE_CHECKING:
    from mcts_cpp._core import ExportedTree

_SMALLEST_SPLIT = 32
_AS_IN_THE_PAPER = CompatConfig()


class BatchedSearch:
    """Searches up to ``batch_size`` roots at once with one network; not thread-safe."""

    def __init__(
        self,
        network: EfficientZeroNet,
        *,
        search: SearchConfig,
        agent: AgentConfig,
        policy_width: int,
        batch_size: int,
        device: torch.device,
        generator: np.random.Generator,
        compat: CompatConfig = _AS_IN_THE_PAPER,
        num_parts: int | None = None,
        num_players: int = 1,
        wants_child_q: bool = False,
        slots: SlotShape | None = None,
    ) -> None:
        """Allocate trees, pools and buffers once.

        Args:
            network: on ``device`` and in eval mode; its weights may change between searches.
            search: coefficients and number of simulations.
            agent: discount and value-prefix settings.
            policy_width: W, the slots of a node (``PolicyShape``).
            batch_size: B, the most roots of one ``run``.
            device: where the network lives.
            generator: source of the trees' seeds, which decide root noise and ties.
            compat: which of the reference's deviations to repeat; PUCT only.
            num_parts: parts that take turns; results do not depend on it but for the network's
                rounding. None: two on a GPU if B is large enough, else one.
            num_players: 2: moves alternate, and all values are those of the player to move.
            wants_child_q: results hold Q of the roots' actions, whatever the improved policy.
            slots: of continuous actions, W of them; None: they are discrete.
        """
        self.on_gpu = device.type != "cpu"
        self.plays_best = search.algorithm == "gumbel"
        self._device, self._network = device, network
        self._generator, self.batch_size = generator, batch_size
        self.num_simulations = search.num_simulations
        self._root_temperature = search.root_policy_temperature
        if num_parts is None:
            num_parts = 2 if self.on_gpu and batch_size >= _SMALLEST_SPLIT else 1
        self._inference = SearchNetwork(
            network,
            backend=search.inference_backend,
            precision=search.precision,
            batch_size=batch_size,
        )
        self._sampler: RootSampler | None = None
        if slots is not None:
            self._sampler = RootSampler(search, slots, batch_size=batch_size, device=device)
        self._bounds = [batch_size * part // num_parts for part in range(num_parts + 1)]
        self._parts = [
            SearchPart(
                self._inference,
                search=search,
                agent=agent,
                compat=compat,
                policy_width=policy_width,
                num_players=num_players,
                batch_size=end - start,
                device=device,
                wants_child_q=wants_child_q,
                slots=slots,
            )
            for start, end in zip(self._bounds, self._bounds[1:], strict=False)
        ]

    @torch.inference_mode()
    def run(self, roots: Roots, *, exploration_noise: bool) -> SearchResult:
        """Search from ``roots`` and return what they found.

        Args:
            roots: 1 <= N <= batch_size of them, observations uint8 or float32.
            exploration_noise: explore at the root: flatter priors by root_policy_temperature, and
                Dirichlet noise in them, or with Gumbel's search its Gumbel variables; without
                them it is deterministic.

        Raises:
            ValueError: N out of range, or the network answered with a number that is not finite.
        """
        num_roots = len(roots)
        if not 1 <= num_roots <= self.batch_size:
            raise ValueError(f"observations: got {num_roots} roots, wanted 1 to {self.batch_size}")
        values, logits, slot_actions = self._expand_roots(roots, exploration_noise)
        for part in self._parts:
            part.launch(1)
        for node in range(2, self.num_simulations + 1):
            for part in self._parts:
                part.collect()
                part.launch(node)
        for part in self._parts:
            part.collect()
        result = self._result(num_roots, values, logits)
        return result._replace(slot_actions=slot_actions[:num_roots])

    @torch.inference_mode()
    def network_values(self, observations: Frames | Tensor) -> F32:
        """Return the network's values of ``observations``, raw scale, f32 [N]; nothing is searched.

        From the network as the search's backend runs it, but always in float32: a target keeps the
        precision that a search may do without.

        Args:
            observations: [N, *observation], any N, uint8 or float32.
        """
        rule = self._network.answer_rule
        return _to_numpy(node_answers(self._in_float32(observations), rule).values)

    @torch.inference_mode()
    def values_and_policies(self, observations: Frames | Tensor) -> tuple[F32, F32]:
        """Return ``network_values`` and the policy head's probabilities; see ``Planner``."""
        said, rule = self._in_float32(observations), self._network.answer_rule
        return _to_numpy(rule.values(said)), _to_numpy(rule.policies(said))

    @torch.inference_mode()
    def horizon_values(self, observations: Frames | Tensor) -> F32:
        """Return the values of all horizons in the same way, f32 [N, 1 + H]; see ``Planner``."""
        rule = self._network.answer_rule
        return _to_numpy(rule.horizon_values(self._in_float32(observations)))

    @torch.inference_mode()
    def network_action_values(self, observations: Frames | Tensor) -> F32:
        """Return the network's Q(s, a) in the same way, f32 [N, A].

        Raises:
            ValueError: the network has no head for them.
        """
        rule = self._network.answer_rule
        return _to_numpy(rule.action_values(self._in_float32(observations)))

    def export_tree(self, root: int) -> ExportedTree:
        """Return all nodes of one root's tree after ``run``, as values that ``json`` takes."""
        part = int(np.searchsorted(self._bounds, root, side="right")) - 1
        return self._parts[part].export_tree(root - self._bounds[part])

    def _expand_roots(self, roots: Roots, exploration_noise: bool) -> tuple[F32, F32, F32]:
        """Start the searches.

        Returns:
            The network's own values [B] and policy logits [B, W], and the actions of the slots
            [B, W, X]; [B, 0, 0] where actions are discrete.
        """
        root = self._inference.initial_inference(self._padded(roots.observations))
        legal = self._padded_mask(roots)
        rule = self._network.planning_rule
        values, policy_logits = map(_to_numpy, node_answers(root, rule))
        if legal is not None:
            policy_logits = with_illegal_out(policy_logits, legal)
            if rule.value == "max_action":
                values = best_legal(_to_numpy(rule.action_values(root)), legal)
        seeds = self._generator.integers(0, 2**64, size=self.batch_size, dtype=np.uint64)
        slot_actions = np.empty((self.batch_size, 0, 0), np.float32)
        if self._sampler is not None:
            slots = self._sampler.draw(
                root.policy_logits, self._generator, explores=exploration_noise
            )
            for part, start in zip(self._parts, self._bounds, strict=False):
                rows = slice(start, start + part.batch_size)
                part.write_slots(slots.actions[rows], slots.inner_noise[:, rows])
            policy_logits, slot_actions = slots.prior_logits, _to_numpy(slots.actions)
        priors = policy_logits
        if exploration_noise and self._root_temperature != 1.0:
            priors = policy_logits / np.float32(self._root_temperature)
        for part, start in zip(self._parts, self._bounds, strict=False):
            rows = slice(start, start + part.batch_size)
            part.expand_roots(
                root.latents[rows],
                priors[rows],
                values[rows],
                seeds=seeds[rows],
                legal_actions=None if legal is None else legal[rows],
                draw_noise=exploration_noise,
            )
        return values, policy_logits, slot_actions

    def _result(self, num_roots: int, values: F32, logits: F32) -> SearchResult:
        results = [
            part.result(
                values[start : start + part.batch_size], logits[start : start + part.batch_size]
            )
            for part, start in zip(self._parts, self._bounds, strict=False)
        ]
        columns = zip(*results, strict=True)
        return SearchResult._make(np.concatenate(column)[:num_roots] for column in columns)

    def _in_float32(self, observations: Frames | Tensor) -> InitialInference:
        on_device = torch.as_tensor(observations).to(self._device)
        self._inference.refresh()
        return self._inference.network.initial_inference(on_device)

    def _padded_mask(self, roots: Roots) -> Bool | None:
        """Return the legal actions of B roots in the same way; None: all are."""
        legal = roots.legal_actions
        if legal is None or len(legal) == self.batch_size:
            return legal
        rows: Bool = legal[np.minimum(np.arange(self.batch_size), len(legal) - 1)]
        return rows

    def _padded(self, observations: Frames | Tensor) -> Tensor:
        """Return B observations on the device; the last root is repeated where fewer were given."""
        roots = torch.as_tensor(observations).to(self._device)
        missing = self.batch_size - len(roots)
        if missing:
            roots = torch.cat([roots, roots[-1:].expand(missing, *roots.shape[1:])])
        return roots


def _to_numpy(tensor: Tensor) -> F32:
    return np.ascontiguousarray(tensor.float().cpu().numpy())

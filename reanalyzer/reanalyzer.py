"""The reanalyzer's loop: sample -> fresh values -> fresh policies -> queue.

Built by ``reanalyzer.__main__``. Value targets always bootstrap from the target weights' own
values; a share of the slices gets policies from a fresh search, the rest keeps those stored.
Stateless: any number may run, each serves whole training batches.
"""

from __future__ import annotations

import logging
import time
from typing import Protocol

import numpy as np
import torch

from efficientzero.config import Config
from efficientzero.envs.frame_stack import stack_window
from efficientzero.metrics.process_usage import ProcessUsage
from efficientzero.metrics.search_rates import SearchRates
from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.metrics.tracker import Tracker
from efficientzero.networks import EfficientZeroNet
from efficientzero.rpc.weight_client import WeightClient
from efficientzero.runtime import StopSignal, WaitReason
from efficientzero.schema import F32, Bool, Frames, TrainingBatch
from efficientzero.search import BatchedSearch
from efficientzero.slices import SliceBatch
from efficientzero.targets import (
    action_mask,
    bootstrap_offsets,
    corrected_td_steps,
    policy_mask,
    value_prefix_targets,
    value_targets,
)

_WAIT_S = 0.5

log = logging.getLogger(__name__)


class SliceSource(Protocol):
    """Where sampled slices come from."""

    def sample(self, num: int, *, timeout_s: float) -> SliceBatch | None:
        """Return ``num`` slices, or None if they did not come in time."""


class BatchSink(Protocol):
    """Where training batches go."""

    def put(self, batch: TrainingBatch, *, timeout_s: float) -> bool:
        """Queue a batch; return False if there was no room in time."""


class Reanalyzer:
    """Makes training batches from replay with the target weights."""

    def __init__(
        self,
        config: Config,
        *,
        network: EfficientZeroNet,
        search: BatchedSearch,
        weights: WeightClient,
        slices: SliceSource,
        batches: BatchSink,
        device: torch.device,
        tracker: Tracker,
        generator: np.random.Generator,
        stop: StopSignal,
    ) -> None:
        """Keep the parts.

        Args:
            config: the run's config.
            network: in eval mode on ``device``; gets the target weights.
            search: on the same network; larger batches of roots are cut to its size.
            weights: client of the ``target`` weights.
            slices: prioritised samples.
            batches: the training queue.
            device: where the network lives.
            tracker: metrics.
            generator: for actions past the end and the choice of reanalysed slices.
            stop: ends ``run``.
        """
        self._config, self._network, self._search, self._device = config, network, search, device
        self._weights, self._slices, self._batches = weights, slices, batches
        self._tracker, self._generator, self._stop = tracker, generator, stop
        self._timer, self._usage = SectionTimer("reanalyzer"), ProcessUsage("reanalyzer")
        self._search_rates = SearchRates(
            "reanalyzer", num_simulations=search.num_simulations, batch_size=search.batch_size
        )
        self._target_train_step, self._weights_at = 0, time.monotonic()
        self._batches_made, self._bytes_made = 0, 0
        self._logged_at = time.monotonic()

    def run(self) -> None:
        """Make batches until a stop is asked for."""
        with self._timer.section("wait_weights"):
            if not self._weights.wait_first("target weights (published when the warm-up ends)"):
                return
        while not self._stop.is_set():
            with self._timer.section("weights"):
                self._take_weights()
            with self._timer.section("wait_slices"):
                slices = self._sample()
            if slices is None:
                continue
            batch = self.make_batch(slices)
            with self._timer.section("wait_queue"):
                self._put(batch)
            self._batches_made += 1
            self._bytes_made += sum(field.nbytes for field in batch)
            self._log_when_due()
        self._log()

    def make_batch(self, slices: SliceBatch) -> TrainingBatch:
        """Return the training batch of ``slices`` under the present target weights."""
        config = self._config
        steps, num_stacked = config.agent.num_unroll_steps, config.env.num_stacked_frames
        with self._timer.section("values"):
            values = self._fresh_values(slices)
        with self._timer.section("search"):
            policies = self._policies(slices)
        mask = action_mask(slices, steps)
        random_actions = self._generator.integers(0, policies.shape[2], size=mask.shape)
        return TrainingBatch(
            frames=slices.frames[:, : num_stacked + steps],
            actions=np.where(mask, slices.actions, random_actions).astype(np.int64),
            value_prefixes=value_prefix_targets(
                slices.rewards,
                num_unroll_steps=steps,
                horizon=config.agent.value_prefix_horizon if config.agent.value_prefix else 1,
            ),
            values=values,
            policies=policies,
            action_mask=mask,
            keys=slices.keys,
            probabilities=slices.probabilities,
            table_sizes=slices.table_sizes,
            weights_versions=slices.weights_versions,
            target_weights_versions=np.full(len(mask), self._target_train_step, np.int64),
        )

    def _fresh_values(self, slices: SliceBatch) -> F32:
        """Return n-step targets that bootstrap from the target network, f32 [B, K + 1]."""
        agent, reanalyzer = self._config.agent, self._config.reanalyzer
        if reanalyzer.off_policy_correction:
            td_steps = corrected_td_steps(
                ages=self._target_train_step - slices.weights_versions,
                td_steps=agent.td_steps,
                age_per_step=reanalyzer.off_policy_tau * self._config.budget.train_steps,
            )
        else:
            td_steps = np.full(len(slices.steps_left), agent.td_steps, np.int32)
        offsets, bootstraps = bootstrap_offsets(slices, td_steps, agent.num_unroll_steps)
        values = np.zeros(offsets.shape, np.float32)
        values[bootstraps] = self._network_values(
            self._observations(slices.frames, bootstraps, offsets)
        )
        return value_targets(
            slices,
            bootstrap_values=values,
            bootstraps=bootstraps,
            td_steps=td_steps,
            discount=agent.discount,
        )

    @torch.inference_mode()
    def _network_values(self, observations: Frames) -> F32:
        parts = []
        for part in _parts(observations, self._search.batch_size):
            logits = self._network.initial_inference(
                torch.from_numpy(part).to(self._device)
            ).value_logits
            parts.append(self._network.support.decode(logits).float().cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _policies(self, slices: SliceBatch) -> F32:
        """Return policy targets, f32 [B, K + 1, A]: searched anew for the configured share."""
        steps = self._config.agent.num_unroll_steps
        exists = policy_mask(slices, steps)  # [B, K + 1]
        policies = np.where(exists[:, :, None], slices.search_policies, 0.0).astype(np.float32)
        num_slices = len(exists)
        num_fresh = int(num_slices * self._config.reanalyzer.policy_reanalyze_ratio)
        searched = exists.copy()
        searched[self._generator.permutation(num_slices)[num_fresh:]] = False
        offsets = np.broadcast_to(np.arange(steps + 1, dtype=np.int32), searched.shape)
        observations = self._observations(slices.frames, searched, offsets)
        results = []
        for part in _parts(observations, self._search.batch_size):
            self._search_rates.add(len(part))
            results.append(self._search.run(part, exploration_noise=True).policies)
        if results:
            policies[searched] = np.concatenate(results)
        return policies

    def _observations(self, frames: Frames, chosen: Bool, offsets: np.ndarray) -> Frames:  # type: ignore[type-arg]
        """Return the observations at ``offsets`` where ``chosen``; both are [B, K + 1]."""
        num_stacked = self._config.env.num_stacked_frames
        rows, _ = np.nonzero(chosen)
        windows = offsets[chosen][:, None] + np.arange(num_stacked)  # [N, S]
        return stack_window(frames[rows[:, None], windows], 0, num_stacked)

    def _take_weights(self) -> None:
        newer = self._weights.take_newer()
        if newer is not None:
            self._network.load_inference_state_dict(newer.state_dict)
            self._target_train_step, self._weights_at = newer.train_step, time.monotonic()

    def _sample(self) -> SliceBatch | None:
        reason = WaitReason("slices from replay")
        while not self._stop.is_set():
            slices = self._slices.sample(self._config.learner.batch_size, timeout_s=_WAIT_S)
            if slices is not None:
                return slices
            reason.tick()
        return None

    def _put(self, batch: TrainingBatch) -> None:
        reason = WaitReason(
            "room in the training queue (the learner is the slower side)", after_s=60.0
        )
        while not self._stop.is_set() and not self._batches.put(batch, timeout_s=_WAIT_S):
            reason.tick()

    def _log_when_due(self) -> None:
        if time.monotonic() - self._logged_at >= self._config.cluster.metrics_interval_seconds:
            with self._timer.section("log"):
                self._log()

    def _log(self) -> None:
        now = time.monotonic()
        elapsed = max(now - self._logged_at, 1e-9)
        batches_per_s = self._batches_made / elapsed
        row = {
            "reanalyzer/train_steps": self._target_train_step,
            "reanalyzer/batches_per_s": batches_per_s,
            "reanalyzer/samples_per_s": batches_per_s * self._config.learner.batch_size,
            "reanalyzer/sent_bytes_per_s": self._bytes_made / elapsed,
            "reanalyzer/weights_age_s": now - self._weights_at,
            **self._search_rates.row(elapsed),
            **self._usage.row(),
            **self._timer.row(),
        }
        self._tracker.log(row)
        self._logged_at, self._batches_made, self._bytes_made = now, 0, 0


def _parts(observations: Frames, size: int) -> list[Frames]:
    """Return ``observations`` cut into parts of at most ``size``."""
    return [observations[start : start + size] for start in range(0, len(observations), size)]

"""The reanalyzer's loop: sample -> fresh values -> fresh policies -> queue.

Built by ``reanalyzer.__main__``. Value targets always bootstrap from the target weights; a share of
the slices gets policies from a fresh search, the rest keeps those stored. Any number of reanalyzers
may run; each makes whole training batches.
"""

from __future__ import annotations

import logging
import time
from typing import Protocol

import numpy as np

from efficientzero.config import Config, num_refreshed
from efficientzero.metrics import Interval, ProcessUsage, Pulse, SectionTimer, Tracker
from efficientzero.networks import EfficientZeroNet
from efficientzero.process.runtime import StopSignal, WaitReason
from efficientzero.rpc.weight_client import WeightSource
from efficientzero.schema import SliceBatch
from efficientzero.search import Planner
from reanalyzer.priority_refresh import PriorityRefresh, SliceSource
from reanalyzer.targets import TargetMaker
from replay.format import TrainingBatch

_WAIT_S = 0.5

log = logging.getLogger(__name__)


class BatchSink(Protocol):
    """Accepts training batches."""

    def put(self, batch: TrainingBatch, *, timeout_s: float) -> bool:
        """Queue a batch; return False if there was no room in time."""


class Reanalyzer:
    """Makes training batches from replay with the target weights."""

    def __init__(
        self,
        config: Config,
        *,
        network: EfficientZeroNet,
        search: Planner,
        weights: WeightSource,
        slices: SliceSource,
        batches: BatchSink,
        tracker: Tracker,
        generator: np.random.Generator,
        stop: StopSignal,
        stored: SliceSource | None = None,
    ) -> None:
        """Store the parts.

        Args:
            config: the run's config.
            network: in eval mode; receives the target weights.
            search: on the same network; larger batches of roots are cut to its size.
            weights: client of the ``target`` weights.
            slices: prioritised samples.
            batches: the training queue.
            tracker: metrics.
            generator: for actions past the end and the choice of reanalysed slices.
            stop: ends ``run``.
            stored: uniform samples, whose priorities are refreshed; None: no refresh.
        """
        self._config, self._network = config, network
        self._weights, self._slices, self._batches = weights, slices, batches
        self._sources = [slices] if stored is None else [slices, stored]
        self._tracker, self._stop = tracker, stop
        self._timer, self._usage = SectionTimer("reanalyzer"), ProcessUsage("reanalyzer")
        self.pulse = Pulse(self._timer, "batches/s")
        """Rate and current wait, sent with heartbeats."""
        self._targets = TargetMaker(
            config,
            num_actions=network.spec.num_actions,
            search=search,
            generator=generator,
            timer=self._timer,
        )
        self._refresh = (
            None
            if stored is None
            else PriorityRefresh(num_refreshed(config), stored, self._targets)
        )
        self._target_train_step, self._weights_at = 0, time.monotonic()
        self._batches_made, self._bytes_made = 0, 0
        self._interval = Interval(config.cluster.metrics_interval_seconds)

    def run(self) -> None:
        """Make batches until a stop is requested."""
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
            batch = self._targets.make_batch(slices, self._target_train_step)
            if self._refresh is not None:
                with self._timer.section("refresh"):
                    batch = self._refresh.added_to(batch, self._target_train_step)
            with self._timer.section("wait_queue"):
                self._put(batch)
            self._batches_made += 1
            self.pulse.work += 1
            self._bytes_made += sum(field.nbytes for field in batch)
            self._log_when_due()
        self._log()

    def _take_weights(self) -> None:
        newer = self._weights.take_newer()
        if newer is not None:
            self._network.load_inference_state_dict(newer.state_dict)
            self._target_train_step, self._weights_at = newer.train_step, time.monotonic()
            self.pulse.weights_train_step = self._target_train_step

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
        if self._interval.is_over():
            with self._timer.section("log"):
                self._log()

    def _log(self) -> None:
        elapsed_s, per_s = self._interval.restart(
            batches=self._batches_made, bytes=self._bytes_made
        )
        row = {
            "reanalyzer/train_steps": self._target_train_step,
            "reanalyzer/batches_per_s": per_s["batches"],
            "reanalyzer/samples_per_s": per_s["batches"] * self._config.learner.batch_size,
            "reanalyzer/dropped_items": float(sum(s.dropped_items for s in self._sources)),
            "reanalyzer/sent_bytes_per_s": per_s["bytes"],
            "reanalyzer/weights_age_s": time.monotonic() - self._weights_at,
            **self._targets.search_rates.row(elapsed_s),
            **self._targets.diagnostics.take_row(),
            **self._usage.row(),
            **self._timer.row(),
        }
        self._tracker.log(row)
